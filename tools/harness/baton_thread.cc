// Implements baton_thread.
#include "kedge/tools/harness/baton_thread.h"

#include "kedge/tools/harness/sanitizers.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace kedge::harness {

baton_thread::baton_thread() : thread_([this] { serve(); }) {}

baton_thread::~baton_thread() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void baton_thread::run(const std::function<void()>& what) {
  std::unique_lock lock(mutex_);
  next_ = &what;
  changed_.notify_all();
  changed_.wait(lock, [this] { return next_ == nullptr; });
}

void baton_thread::serve() noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return next_ != nullptr || is_over_; });
    if (next_ == nullptr) break;
    lock.unlock();
    (*next_)();
    lock.lock();
    next_ = nullptr;
    changed_.notify_all();
  }
#if defined(__linux__) && !defined(KEDGE_HARNESS_ASAN) && !defined(KEDGE_HARNESS_TSAN)
  // The C library would run the destructors. It joins a thread that ends so, too.
  lock.unlock();
  if (is_abandoned_) ::syscall(SYS_exit, 0);
#endif
}

}  // namespace kedge::harness
