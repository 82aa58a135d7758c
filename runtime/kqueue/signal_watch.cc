#include "kedge/kqueue/signal_watch.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <new>

#include "kedge/kqueue/interruption.h"
#include "kedge/kqueue/lock.h"

namespace kedge::kqueue {
namespace {

using handler_function = void (*)(int);
using action_function = void (*)(int, siginfo_t*, void*);

// What the program wants done with a watched signal. Read by the handler, so atomic; written under
// `lock` while our handler is not installed.
struct disposition {
  unsigned watches = 0;
  struct sigaction saved{};
  std::atomic<handler_function> handler{nullptr};
  std::atomic<action_function> action{nullptr};  // instead, with SA_SIGINFO
};

constinit word_lock lock;
disposition dispositions[signal_count];
constinit std::atomic<signal_watch*> watches{nullptr};

std::uint64_t bit(unsigned signal) noexcept {
  return std::uint64_t{1} << (signal - 1);
}

bool is_ignored_by_default(int signal) noexcept {
  return signal == SIGCHLD || signal == SIGCONT || signal == SIGURG || signal == SIGWINCH;
}

void on_signal(int signal, siginfo_t* info, void* context) noexcept;

struct sigaction our_action(const struct sigaction& programs) noexcept {
  struct sigaction action = programs;
  action.sa_sigaction = [](int signal, siginfo_t* info, void* context) {
    on_signal(signal, info, context);
  };
  action.sa_flags &= ~SA_RESETHAND;
  action.sa_flags |= SA_SIGINFO;
  const bool has_handler = (programs.sa_flags & SA_SIGINFO) != 0 ||
                           (programs.sa_handler != SIG_IGN && programs.sa_handler != SIG_DFL);
  if (!has_handler) {
    sigemptyset(&action.sa_mask);
    action.sa_flags |= SA_RESTART;
    // Ignoring SIGCHLD is what reaps children unasked.
    if (programs.sa_handler == SIG_IGN) action.sa_flags |= SA_NOCLDWAIT;
  }
  return action;
}

// The default action of a signal that ends or stops the process; returns from the latter.
void take_default_action(int signal) noexcept {
  struct sigaction by_default{};
  by_default.sa_handler = SIG_DFL;
  struct sigaction ours{};
  sigaction(signal, &by_default, &ours);
  sigset_t only;
  sigset_t before;
  sigemptyset(&only);
  sigaddset(&only, signal);
  raise(signal);
  pthread_sigmask(SIG_UNBLOCK, &only, &before);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  sigaction(signal, &ours, nullptr);
}

}  // namespace

void signal_arrived(int signal) noexcept {
  const auto number = static_cast<unsigned>(signal);
  for (signal_watch* w = watches.load(std::memory_order_acquire); w != nullptr; w = w->next_) {
    if ((w->signals_.load(std::memory_order_acquire) & bit(number)) == 0) continue;
    w->counts_[number].fetch_add(1, std::memory_order_release);
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(w->descriptor(), &one, sizeof one);
  }
}

namespace {

void on_signal(int signal, siginfo_t* info, void* context) noexcept {
  const int error = errno;
  signal_arrived(signal);
  disposition& d = dispositions[signal];
  const action_function action = d.action.load(std::memory_order_acquire);
  const handler_function handler = d.handler.load(std::memory_order_acquire);
  if (action != nullptr) {
    interruptions.handled = interruptions.handled + 1;
    errno = error;
    action(signal, info, context);
  } else if (handler == SIG_IGN || (handler == SIG_DFL && is_ignored_by_default(signal))) {
    interruptions.ignored = interruptions.ignored + 1;
  } else if (handler == SIG_DFL) {
    interruptions.handled = interruptions.handled + 1;
    take_default_action(signal);
  } else {
    interruptions.handled = interruptions.handled + 1;
    errno = error;
    handler(signal);
  }
  errno = error;
}

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) != 0 &&
         action.sa_sigaction == our_action(action).sa_sigaction;
}

// With `lock` held. A further watch looks again: the program may have set a disposition of its own
// since.
void install(unsigned signal) noexcept {
  disposition& d = dispositions[signal];
  ++d.watches;
  const int number = static_cast<int>(signal);
  struct sigaction now{};
  if (sigaction(number, nullptr, &now) != 0 || is_ours(now)) return;
  d.saved = now;
  const bool has_action = (d.saved.sa_flags & SA_SIGINFO) != 0;
  d.action.store(has_action ? d.saved.sa_sigaction : nullptr, std::memory_order_release);
  d.handler.store(has_action ? nullptr : d.saved.sa_handler, std::memory_order_release);
  const struct sigaction ours = our_action(d.saved);
  sigaction(number, &ours, nullptr);
}

void restore(unsigned signal) noexcept {
  struct sigaction now{};
  const int number = static_cast<int>(signal);
  if (sigaction(number, nullptr, &now) == 0 && is_ours(now)) {
    sigaction(number, &dispositions[signal].saved, nullptr);
  }
}

}  // namespace

signal_watch* signal_watch::take() noexcept {
  const std::lock_guard hold(lock);
  signal_watch* w = watches.load(std::memory_order_relaxed);
  while (w != nullptr && w->in_use_) w = w->next_;
  if (w == nullptr) {
    const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) return nullptr;
    w = new (std::nothrow) signal_watch;
    if (w == nullptr) {
      close(fd);
      errno = ENOMEM;
      return nullptr;
    }
    w->event_fd_.store(fd, std::memory_order_relaxed);
    w->next_ = watches.load(std::memory_order_relaxed);
    watches.store(w, std::memory_order_release);
  }
  w->in_use_ = true;
  return w;
}

void signal_watch::give_back() noexcept {
  drain();
  const std::lock_guard hold(lock);
  in_use_ = false;
}

void signal_watch::begin(unsigned signal) noexcept {
  const std::lock_guard hold(lock);
  if ((signals_.load(std::memory_order_relaxed) & bit(signal)) != 0) return;
  counts_[signal].store(0, std::memory_order_relaxed);
  signals_.fetch_or(bit(signal), std::memory_order_acq_rel);
  install(signal);
}

void signal_watch::end(unsigned signal) noexcept {
  const std::lock_guard hold(lock);
  if ((signals_.load(std::memory_order_relaxed) & bit(signal)) == 0) return;
  signals_.fetch_and(~bit(signal), std::memory_order_acq_rel);
  if (--dispositions[signal].watches == 0) restore(signal);
}

void signal_watch::drain() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(descriptor(), &count, sizeof count);
}

std::uint32_t signal_watch::take_count(unsigned signal) noexcept {
  return counts_[signal].exchange(0, std::memory_order_acq_rel);
}

void signal_watch::abandon() noexcept {
  new (&lock) word_lock;
  for (signal_watch* w = watches.exchange(nullptr); w != nullptr; w = w->next_)
    close(w->descriptor());
  for (unsigned signal = 1; signal < signal_count; ++signal) {
    if (dispositions[signal].watches == 0) continue;
    restore(signal);
    dispositions[signal].watches = 0;
  }
}

}  // namespace kedge::kqueue
