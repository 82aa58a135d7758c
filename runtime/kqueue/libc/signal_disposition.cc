// The program's dispositions, the library's signal handler, and what becomes of both in a fork.
#include "kedge/runtime/kqueue/libc/signal_disposition.h"

#include <pthread.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <new>
#include <optional>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/filters/signal_watch.h"
#include "kedge/runtime/kqueue/interruption.h"
#include "kedge/runtime/kqueue/libc/next_definition.h"
#include "kedge/runtime/kqueue/libc/own_process.h"
#include "kedge/runtime/kqueue/libc/pending_signals.h"
#include "kedge/runtime/kqueue/libc/signal_mask.h"

extern "C" {
[[gnu::weak]] decltype(sigaction) __interceptor_sigaction;
}

namespace kedge::kqueue {
namespace {

using handler_function = void (*)(int);
using action_function = void (*)(int, siginfo_t*, void*);

constexpr int reset_hand = static_cast<int>(SA_RESETHAND);

constinit next_definition next_sigaction("sigaction", &__interceptor_sigaction);

// As the kernel sees it, whatever the flags say.
bool has_function(const struct sigaction& action) noexcept {
  return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

// The part of a disposition that the handler acts on.
struct reaction {
  handler_function handler;  // null if there is an action instead
  action_function action;    // of SA_SIGINFO
  bool once;                 // SA_RESETHAND

  bool is_function() const noexcept {
    return action != nullptr || (handler != SIG_DFL && handler != SIG_IGN);
  }
};

class disposition {
 public:
  unsigned hooks = 0;  // calls of hook_signal(). Under the lock

  // Require the lock.
  const struct sigaction& of_program() const noexcept { return of_program_; }
  void set(const struct sigaction& action) noexcept {
    of_program_ = action;
    const bool has_action = has_function(action) && (action.sa_flags & SA_SIGINFO) != 0;
    // A sequence lock: odd while a thread writes. Release and acquire operations instead of fences,
    // for ThreadSanitizer.
    version_.fetch_add(1, std::memory_order_relaxed);
    handler_.store(has_action ? nullptr : action.sa_handler, std::memory_order_release);
    action_.store(has_action ? action.sa_sigaction : nullptr, std::memory_order_release);
    once_.store((action.sa_flags & reset_hand) != 0, std::memory_order_release);
    version_.fetch_add(1, std::memory_order_release);
  }

  // Any thread, also in a signal handler: a writer has all signals blocked.
  reaction get() const noexcept {
    for (;;) {
      const unsigned version = version_.load(std::memory_order_acquire);
      const reaction a{handler_.load(std::memory_order_acquire),
                       action_.load(std::memory_order_acquire),
                       once_.load(std::memory_order_acquire)};
      if (version % 2 == 0 && version_.load(std::memory_order_relaxed) == version) return a;
    }
  }

 private:
  struct sigaction of_program_{};
  std::atomic<unsigned> version_{0};
  std::atomic<handler_function> handler_{nullptr};
  std::atomic<action_function> action_{nullptr};
  std::atomic<bool> once_{false};
};

disposition dispositions[signal_count];
constinit base::mutex lock;
constinit std::atomic<pid_t> process{0};  // the process that the dispositions belong to

// Returns false in the child of a vfork, which has our memory but dispositions of its own. (The
// child of a fork has a copy of the table for its own dispositions, though it has no kqueues: there
// own_process::is_current() is false.)
bool owns_dispositions() noexcept {
  return process.load(std::memory_order_relaxed) == real_pid();
}

// Holds the lock, with all signals blocked, because a signal handler takes the lock too.
class scoped_lock {
 public:
  scoped_lock() noexcept {
    const std::uint64_t all = ~std::uint64_t{0};
    const std::uint64_t before = exchange_mask(&all);
    lock.lock();
    before_ = before;  // under the lock: all threads that fork share held_for_fork
  }
  scoped_lock(const scoped_lock&) = delete;
  scoped_lock& operator=(const scoped_lock&) = delete;
  ~scoped_lock() {
    const std::uint64_t before = before_;
    lock.unlock();
    exchange_mask(&before);
  }

 private:
  std::uint64_t before_;
};

bool is_ignored_by_default(int signal) noexcept {
  return signal == SIGCHLD || signal == SIGCONT || signal == SIGURG || signal == SIGWINCH;
}

// The library's handler. Not noexcept: the thread may be cancelled in the program's handler.
void on_signal(int signal, siginfo_t* info, void* context);

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_signal;
}

// Returns the action that installs our handler for the program's disposition.
struct sigaction hooked(const struct sigaction& of_program) noexcept {
  struct sigaction action = of_program;
  action.sa_sigaction = on_signal;
  action.sa_flags &= ~reset_hand;
  action.sa_flags |= SA_SIGINFO;
  if (!has_function(of_program)) {
    // The program's calls must not notice our handler.
    sigemptyset(&action.sa_mask);
    action.sa_flags |= SA_RESTART | SA_ONSTACK;
    // A program that ignores SIGCHLD has its children reaped automatically.
    if (of_program.sa_handler == SIG_IGN) action.sa_flags |= SA_NOCLDWAIT;
  }
  return action;
}

// Returns whether signals of this disposition are ignored.
bool ignores(const struct sigaction& action, int signal) noexcept {
  return action.sa_handler == SIG_IGN ||
         (action.sa_handler == SIG_DFL && is_ignored_by_default(signal));
}

// Makes `wanted` the program's disposition of a hooked signal. Requires the lock. Returns 0, or -1
// with errno.
int set(disposition& d, int signal, const struct sigaction& wanted) noexcept {
  const struct sigaction action = hooked(wanted);
  if (next_sigaction(signal, &action, static_cast<struct sigaction*>(nullptr)) != 0) return -1;
  d.set(wanted);
  return 0;
}

// Takes the default action of a signal that ends or stops the process, and returns when a stopped
// process continues. Other threads wait for the lock in that time: they are stopped too.
void take_default_action(int signal) noexcept {
  const scoped_lock hold;
  struct sigaction by_default{};
  by_default.sa_handler = SIG_DFL;
  struct sigaction before{};
  next_sigaction(signal, &by_default, &before);
  raise(signal);
  const std::uint64_t others = ~signal_bit(static_cast<unsigned>(signal));
  const std::uint64_t blocked = exchange_mask(&others);
  exchange_mask(&blocked);
  next_sigaction(signal, &before, static_cast<struct sigaction*>(nullptr));
}

// SA_RESETHAND: the first delivery runs the handler, the next takes the default action.
reaction take_once(int signal) noexcept {
  disposition& d = dispositions[signal];
  const scoped_lock hold;
  const reaction a = d.get();
  if (a.once && a.is_function()) {
    struct sigaction reset = d.of_program();
    reset.sa_handler = SIG_DFL;
    if (owns_dispositions()) {
      set(d, signal, reset);
    } else {
      next_sigaction(signal, &reset, static_cast<struct sigaction*>(nullptr));
    }
  }
  return a;
}

void on_signal(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  if (owns_dispositions()) {
    switch (examine(*info)) {
      case signal_state::fresh:
        signal_delivered(static_cast<unsigned>(signal));
        break;
      case signal_state::counted:
        break;
      case signal_state::out_of_date:
        if (interrupted == interruption::none) interrupted = interruption::ignored;
        errno = error;
        return;
    }
  }
  reaction a = dispositions[signal].get();
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
  // The interrupted code goes on with its own mask.
  before_mask_change(bits_of(static_cast<const ucontext_t*>(context)->uc_sigmask));
  errno = error;
}

// Removes our handler of a signal that is not hooked any more. Requires the lock. Another action
// may be installed: system() ignores signals without our knowing, and restores our handler
// afterwards.
void restore(int signal) noexcept {
  struct sigaction now{};
  if (next_sigaction(signal, static_cast<const struct sigaction*>(nullptr), &now) != 0) return;
  if (!is_ours(now)) return;
  next_sigaction(signal, &dispositions[signal].of_program(),
                 static_cast<struct sigaction*>(nullptr));
}

// A fork waits until no thread is in the middle of a change. In the child no signal is hooked.
alignas(scoped_lock) unsigned char held_for_fork[sizeof(scoped_lock)];

void before_fork() noexcept {
  new (held_for_fork) scoped_lock;
}
void after_fork() noexcept {
  reinterpret_cast<scoped_lock*>(held_for_fork)->~scoped_lock();
}
void after_fork_in_child() noexcept {
  process.store(real_pid(), std::memory_order_relaxed);
  forget_pending_in_child();
  for (unsigned signal = 1; signal < signal_count; ++signal) {
    disposition& d = dispositions[signal];
    if (d.hooks == 0) continue;
    d.hooks = 0;
    restore(static_cast<int>(signal));
  }
  after_fork();
}

// A constructor, so that it runs before a handler can need it.
[[gnu::constructor]] void begin() noexcept {
  next_sigaction.find();
  process.store(real_pid(), std::memory_order_relaxed);
  pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

}  // namespace

void hook_signal(unsigned signal) noexcept {
  pid_t unset = 0;  // a constructor of the program may run before ours
  process.compare_exchange_strong(unset, real_pid(), std::memory_order_relaxed);
  disposition& d = dispositions[signal];
  const int signo = static_cast<int>(signal);
  const scoped_lock hold;
  if (++d.hooks != 1) return;
  set_watched(signal, true);
  struct sigaction now{};
  if (next_sigaction(signo, static_cast<const struct sigaction*>(nullptr), &now) != 0) return;
  set(d, signo, is_ours(now) ? d.of_program() : now);
}

void unhook_signal(unsigned signal) noexcept {
  disposition& d = dispositions[signal];
  const scoped_lock hold;
  if (--d.hooks != 0) return;
  set_watched(signal, false);
  // Linux discards a pending signal then that the program ignores, or that has no default action.
  std::optional<siginfo_t> pending;
  if (ignores(d.of_program(), static_cast<int>(signal))) pending = take_pending(signal);
  restore(static_cast<int>(signal));
  if (pending) make_pending(signal, *pending);
}

int change_disposition(int signal, const struct sigaction* wanted,
                       struct sigaction* before) noexcept {
  if (signal < 1 || signal >= static_cast<int>(signal_count) || !owns_dispositions())
    return next_sigaction(signal, wanted, before);
  disposition& d = dispositions[signal];
  const scoped_lock hold;
  const struct sigaction old = d.of_program();
  int result = 0;
  if (d.hooks == 0) {
    result = next_sigaction(signal, wanted, before);
    if (result == 0 && before != nullptr && is_ours(*before)) *before = old;
    return result;
  }
  if (wanted != nullptr) {
    // As the kernel does for a disposition that ignores the signal.
    if (ignores(*wanted, signal)) discard_pending(static_cast<unsigned>(signal));
    result = set(d, signal, *wanted);
  }
  if (result == 0 && before != nullptr) *before = old;
  return result;
}

}  // namespace kedge::kqueue
