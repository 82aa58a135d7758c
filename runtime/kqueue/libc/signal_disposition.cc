#include "kedge/runtime/kqueue/libc/signal_disposition.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <new>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/filters/signal_watch.h"
#include "kedge/runtime/kqueue/interruption.h"
#include "kedge/runtime/kqueue/libc/next_definition.h"

extern "C" {
[[gnu::weak]] decltype(sigaction) __interceptor_sigaction;
}

namespace kedge::kqueue {
namespace {

using handler_function = void (*)(int);
using action_function = void (*)(int, siginfo_t*, void*);

constexpr int reset_hand = static_cast<int>(SA_RESETHAND);

constinit next_definition next_sigaction("sigaction", &__interceptor_sigaction);

// As the kernel sees it: whatever the flags say.
bool has_function(const struct sigaction& action) noexcept {
  return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

// The part of a disposition that our handler acts on.
struct answer {
  handler_function handler;  // null if there is an action instead
  action_function action;    // of SA_SIGINFO
  bool once;                 // SA_RESETHAND

  bool is_function() const noexcept {
    return action != nullptr || (handler != SIG_DFL && handler != SIG_IGN);
  }
};

class disposition {
 public:
  unsigned covers = 0;  // this and the next: under the lock
  const struct sigaction& programs() const noexcept { return programs_; }

  void set(const struct sigaction& action) noexcept {
    programs_ = action;
    const bool has_action = has_function(action) && (action.sa_flags & SA_SIGINFO) != 0;
    // Odd while it is written. Only release and acquire operations, no fences, for ThreadSanitizer.
    version_.fetch_add(1, std::memory_order_relaxed);
    handler_.store(has_action ? nullptr : action.sa_handler, std::memory_order_release);
    action_.store(has_action ? action.sa_sigaction : nullptr, std::memory_order_release);
    once_.store((action.sa_flags & reset_hand) != 0, std::memory_order_release);
    version_.fetch_add(1, std::memory_order_release);
  }

  // Any thread, also in a handler: who writes has all signals blocked.
  answer get() const noexcept {
    for (;;) {
      const unsigned version = version_.load(std::memory_order_acquire);
      const answer a{handler_.load(std::memory_order_acquire),
                     action_.load(std::memory_order_acquire),
                     once_.load(std::memory_order_acquire)};
      if (version % 2 == 0 && version_.load(std::memory_order_relaxed) == version) return a;
    }
  }

 private:
  struct sigaction programs_{};
  std::atomic<unsigned> version_{0};
  std::atomic<handler_function> handler_{nullptr};
  std::atomic<action_function> action_{nullptr};
  std::atomic<bool> once_{false};
};

disposition dispositions[signal_count];
constinit base::mutex lock;
constinit std::atomic<pid_t> process{0};  // whose dispositions these are

// Not so in the child of a vfork, which has our memory, but dispositions of its own.
bool in_own_process() noexcept {
  return process.load(std::memory_order_relaxed) == getpid();
}

// Holds the lock, with all signals blocked: a handler may want it, too.
class locked {
 public:
  locked() noexcept {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    lock.lock();
    before_ = before;  // under the lock, like the rest: for a fork all threads use one place
  }
  locked(const locked&) = delete;
  locked& operator=(const locked&) = delete;
  ~locked() {
    const sigset_t before = before_;
    lock.unlock();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

 private:
  sigset_t before_;
};

bool is_ignored_by_default(int signal) noexcept {
  return signal == SIGCHLD || signal == SIGCONT || signal == SIGURG || signal == SIGWINCH;
}

// Not noexcept: the thread may be cancelled in the program's handler.
void on_signal(int signal, siginfo_t* info, void* context);

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_signal;
}

// What the kernel is told for a covered signal.
struct sigaction covering(const struct sigaction& programs) noexcept {
  struct sigaction action = programs;
  action.sa_sigaction = on_signal;
  action.sa_flags &= ~reset_hand;
  action.sa_flags |= SA_SIGINFO;
  if (!has_function(programs)) {
    // Nothing that the program does is to notice our handler.
    sigemptyset(&action.sa_mask);
    action.sa_flags |= SA_RESTART | SA_ONSTACK;
    // Ignoring SIGCHLD is what reaps children unasked.
    if (programs.sa_handler == SIG_IGN) action.sa_flags |= SA_NOCLDWAIT;
  }
  return action;
}

// With the lock held.
int set(disposition& d, int signal, const struct sigaction& wanted) noexcept {
  const struct sigaction action = covering(wanted);
  if (next_sigaction(signal, &action, static_cast<struct sigaction*>(nullptr)) != 0) return -1;
  d.set(wanted);
  return 0;
}

// The default action of a signal that ends or stops the process; returns from the latter. Others
// wait for the lock meanwhile: they are stopped, too.
void take_default_action(int signal) noexcept {
  const locked hold;
  struct sigaction by_default{};
  by_default.sa_handler = SIG_DFL;
  struct sigaction before{};
  next_sigaction(signal, &by_default, &before);
  sigset_t only;
  sigset_t blocked;
  sigemptyset(&only);
  sigaddset(&only, signal);
  raise(signal);
  pthread_sigmask(SIG_UNBLOCK, &only, &blocked);
  pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
  next_sigaction(signal, &before, static_cast<struct sigaction*>(nullptr));
}

// SA_RESETHAND: one delivery gets the handler, the next the default action.
answer take_once(int signal) noexcept {
  disposition& d = dispositions[signal];
  const locked hold;
  const answer a = d.get();
  if (a.once && a.is_function()) {
    struct sigaction reset = d.programs();
    reset.sa_handler = SIG_DFL;
    if (in_own_process()) {
      set(d, signal, reset);
    } else {
      next_sigaction(signal, &reset, static_cast<struct sigaction*>(nullptr));
    }
  }
  return a;
}

void on_signal(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  if (in_own_process()) signal_arrived(static_cast<unsigned>(signal));
  answer a = dispositions[signal].get();
  if (a.once && a.is_function()) a = take_once(signal);
  if (!a.is_function() && (a.handler == SIG_IGN || is_ignored_by_default(signal))) {
    if (interrupted == interruption::none) interrupted = interruption::ignored;
    errno = error;
    return;
  }
  interrupted = interruption::handled;
  if (a.action != nullptr) {
    errno = error;
    a.action(signal, info, context);
  } else if (a.is_function()) {
    errno = error;
    a.handler(signal);
  } else {
    take_default_action(signal);
  }
  errno = error;
}

// With the lock held, of a signal that is covered no more. Something else may stand there: system()
// ignores signals behind our back, and brings our handler back.
void put_back(int signal) noexcept {
  struct sigaction now{};
  if (next_sigaction(signal, static_cast<const struct sigaction*>(nullptr), &now) != 0) return;
  if (!is_ours(now)) return;
  next_sigaction(signal, &dispositions[signal].programs(), static_cast<struct sigaction*>(nullptr));
}

// A fork waits until no thread is in the middle of a change. In the child nothing is covered.
alignas(locked) unsigned char held_for_fork[sizeof(locked)];

void before_fork() noexcept {
  new (held_for_fork) locked;
}
void after_fork() noexcept {
  reinterpret_cast<locked*>(held_for_fork)->~locked();
}
void after_fork_in_child() noexcept {
  process.store(getpid(), std::memory_order_relaxed);
  for (unsigned signal = 1; signal < signal_count; ++signal) {
    disposition& d = dispositions[signal];
    if (d.covers == 0) continue;
    d.covers = 0;
    put_back(static_cast<int>(signal));
  }
  after_fork();
}

// As early as a handler can need it.
[[gnu::constructor]] void begin() noexcept {
  next_sigaction.find();
  process.store(getpid(), std::memory_order_relaxed);
  pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

}  // namespace

void cover_signal(unsigned signal) noexcept {
  pid_t nobody = 0;  // some program's constructor comes before ours
  process.compare_exchange_strong(nobody, getpid(), std::memory_order_relaxed);
  disposition& d = dispositions[signal];
  const int number = static_cast<int>(signal);
  const locked hold;
  if (++d.covers != 1) return;
  struct sigaction now{};
  if (next_sigaction(number, static_cast<const struct sigaction*>(nullptr), &now) != 0) return;
  set(d, number, is_ours(now) ? d.programs() : now);
}

void uncover_signal(unsigned signal) noexcept {
  disposition& d = dispositions[signal];
  const locked hold;
  if (--d.covers == 0) put_back(static_cast<int>(signal));
}

int change_disposition(int signal, const struct sigaction* wanted,
                       struct sigaction* before) noexcept {
  if (signal < 1 || signal >= static_cast<int>(signal_count) || !in_own_process())
    return next_sigaction(signal, wanted, before);
  disposition& d = dispositions[signal];
  const locked hold;
  const struct sigaction old = d.programs();
  int result = 0;
  if (d.covers == 0) {
    result = next_sigaction(signal, wanted, before);
    if (result == 0 && before != nullptr && is_ours(*before)) *before = old;
    return result;
  }
  if (wanted != nullptr) result = set(d, signal, *wanted);
  if (result == 0 && before != nullptr) *before = old;
  return result;
}

}  // namespace kedge::kqueue
