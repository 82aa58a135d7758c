// unreaped_child: the waits for one child, and the thread that reaps those of no loop.
#include "kedge/runtime/unreaped_child.h"

#include <pthread.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <new>
#include <thread>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/reactor/start_thread.h"

namespace kedge {
namespace {

using child_list = base::list<unreaped_child, &unreaped_child::link>;

// What the thread is to wait for. The lock is a leaf. A fork waits for it.
struct background {
  static constinit inline base::mutex lock{};
  static constinit inline child_list children{};
  static constinit inline child_list of_parent{};  // kept, since a fork's child may not free memory
  static constinit inline bool has_thread = false;

  static void after_fork_in_child() noexcept {
    new (&lock) base::mutex;
    while (unreaped_child* const c = children.pop_front()) of_parent.push_back(*c);
    has_thread = false;
  }

  // Fails only without memory, before main().
  [[maybe_unused]] static inline const int registered =
      ::pthread_atfork([] { lock.lock(); }, [] { lock.unlock(); }, [] { after_fork_in_child(); });
};

// Reaps the children that have ended: one that a tracer holds, or that may not be killed, keeps no
// other one. Returns false, and the thread counts as ended, if none is left.
bool reap_ended() noexcept {
  const std::lock_guard hold(background::lock);
  child_list left;
  while (unreaped_child* const c = background::children.pop_front()) {
    if (c->try_wait() == unreaped_child::is_not_waitable) {
      left.push_back(*c);
    } else {
      delete c;
    }
  }
  background::children = left;
  return background::has_thread = !left.empty();
}

void* reap_all(void*) noexcept {
  using namespace std::chrono_literals;
  for (auto interval = 1ms; reap_ended();
       interval = std::min<std::chrono::milliseconds>(2 * interval, 100ms)) {
    std::this_thread::sleep_for(interval);
  }
  return nullptr;
}

}  // namespace

bool unreaped_child::is_ours() const noexcept {
  siginfo_t information{};
  return ::waitid(P_PID, static_cast<id_t>(pid), &information, WEXITED | WNOHANG | WNOWAIT) == 0;
}

int unreaped_child::try_wait() const noexcept {
  return wait_with(WNOHANG);
}

int unreaped_child::wait_with(int options) const noexcept {
  int status = 0;
  pid_t waited;
  do {
    waited = ::waitpid(pid, &status, options);
  } while (waited < 0 && errno == EINTR);
  if (waited == 0) return is_not_waitable;
  return waited == pid ? status : is_lost;
}

void reap_in_background(std::unique_ptr<unreaped_child> child) noexcept {
  {
    const std::lock_guard hold(background::lock);
    background::children.push_back(*child.release());
    if (background::has_thread) return;
    background::has_thread = true;
  }
  pthread_t thread;
  if (start_thread(thread, &reap_all, nullptr) == 0) {
    ::pthread_detach(thread);
    return;
  }
  const std::lock_guard hold(background::lock);
  background::has_thread = false;
}

}  // namespace kedge
