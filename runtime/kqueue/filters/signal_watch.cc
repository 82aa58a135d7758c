// Counts the signals that a kqueue watches: delivered ones in the handler, blocked ones by a
// signalfd.
#include "kedge/runtime/kqueue/filters/signal_watch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <new>

#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/kqueue/descriptors/internal_fds.h"
#include "kedge/runtime/kqueue/libc/no_cancellation.h"
#include "kedge/runtime/kqueue/libc/pending_signals.h"
#include "kedge/runtime/kqueue/libc/signal_mask.h"

namespace kedge::kqueue {
namespace {

constinit base::mutex lock;
constinit std::atomic<signal_watch*> watches{nullptr};

// Returns which of `signals`, real-time ones, are pending for the process or this thread.
std::uint64_t pending_of(std::uint64_t signals) noexcept {
  return signals != 0 ? pending_now() & signals : 0;
}

}  // namespace

void signal_delivered(unsigned signal) noexcept {
  for (signal_watch* w = watches.load(std::memory_order_acquire); w != nullptr; w = w->next_) {
    // First writers_, then signals_. give_back() reads them in the opposite order.
    w->writers_.fetch_add(1);
    if ((w->signals_.load() & signal_bit(signal)) != 0 && !w->forget_pending(signal)) {
      w->count_one(signal);
      w->has_arrived_.store(true, std::memory_order_release);
      if ((w->waking_.load(std::memory_order_relaxed) & signal_bit(signal)) != 0) w->poke();
    }
    w->writers_.fetch_sub(1);
  }
}

void signal_accepted(unsigned signal) noexcept {
  if ((signal_bit(signal) & standard_signals) != 0) return signal_delivered(signal);
  for (signal_watch* w = watches.load(std::memory_order_acquire); w != nullptr; w = w->next_)
    w->forget_pending(signal);
}

// Makes the watch readable.
void signal_watch::poke() const noexcept {
  const std::uint64_t one = 1;
  syscall(SYS_write, event_fd_, &one, sizeof one);  // write() is a cancellation point
}

bool signal_watch::open() noexcept {
  event_fd_ = internal_fds::make([] { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); });
  sigset_t none;
  sigemptyset(&none);
  pending_fd_ =
      internal_fds::make([&none] { return signalfd(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK); });
  set_ = internal_fds::make([] { return epoll_create1(EPOLL_CLOEXEC); });
  status_fd_ = internal_fds::make([] {  // -1 if there is none. open() is a cancellation point
    return static_cast<int>(
        syscall(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC));
  });
  epoll_event arrived{};
  arrived.events = EPOLLIN;
  epoll_event pending{};
  pending.events = EPOLLIN | EPOLLET;  // it stays readable as long as a signal stays pending
  return event_fd_ >= 0 && pending_fd_ >= 0 && set_ >= 0 &&
         epoll_ctl(set_, EPOLL_CTL_ADD, event_fd_, &arrived) == 0 &&
         epoll_ctl(set_, EPOLL_CTL_ADD, pending_fd_, &pending) == 0;
}

void signal_watch::close() noexcept {
  for (int* const fd : {&event_fd_, &pending_fd_, &set_, &status_fd_}) {
    if (*fd >= 0) internal_fds::close(*fd);
    *fd = -1;
  }
}

signal_watch* signal_watch::take(const timer_clock& clock) noexcept {
  const std::lock_guard hold(lock);
  signal_watch* w = watches.load(std::memory_order_relaxed);
  while (w != nullptr && w->in_use_) w = w->next_;
  if (w == nullptr) {
    w = new (std::nothrow) signal_watch;
    if (w == nullptr) {
      errno = ENOMEM;
      return nullptr;
    }
    w->next_ = watches.load(std::memory_order_relaxed);
    watches.store(w, std::memory_order_release);
  }
  if (w->event_fd_ < 0 && !w->open()) {
    w->close();
    return nullptr;
  }
  w->clock_.store(&clock, std::memory_order_relaxed);
  w->in_use_ = true;
  return w;
}

void signal_watch::give_back() noexcept {
  drain();
  const std::lock_guard hold(lock);
  // No signal is watched by now. A handler that is about to write, or that was left by longjmp just
  // then, keeps the descriptors open, so that it cannot write to another file.
  if (writers_.load() == 0) close();
  in_use_ = false;
}

void signal_watch::begin(unsigned signal) noexcept {
  if ((signals_.load(std::memory_order_relaxed) & signal_bit(signal)) != 0) return;
  counts_[signal].store(0, std::memory_order_relaxed);
  // A signal that is pending already came before the watch.
  count_new(signal_bit(signal), status_fd_);
  pending_.fetch_or(pending_of(signal_bit(signal) & ~standard_signals), std::memory_order_acq_rel);
  watch_pending(signals_.fetch_or(signal_bit(signal), std::memory_order_acq_rel) |
                signal_bit(signal));
  hook_signal(signal);
}

void signal_watch::end(unsigned signal) noexcept {
  if ((signals_.load(std::memory_order_relaxed) & signal_bit(signal)) == 0) return;
  watch_pending(signals_.fetch_and(~signal_bit(signal)) & ~signal_bit(signal));
  forget_pending(signal);
  unhook_signal(signal);
}

void signal_watch::set_waking(unsigned signal, bool is_waking) noexcept {
  is_waking ? waking_.fetch_or(signal_bit(signal)) : waking_.fetch_and(~signal_bit(signal));
}

void signal_watch::watch_pending(std::uint64_t signals) noexcept {
  sigset_t set;
  sigemptyset(&set);
  for (unsigned signal = 1; signal < signal_count; ++signal) {
    if ((signals & signal_bit(signal)) != 0) sigaddset(&set, static_cast<int>(signal));
  }
  signalfd(pending_fd_, &set, 0);
}

bool signal_watch::forget_pending(unsigned signal) noexcept {
  return (pending_.load(std::memory_order_acquire) & signal_bit(signal)) != 0 &&
         (pending_.fetch_and(~signal_bit(signal), std::memory_order_acq_rel) &
          signal_bit(signal)) != 0;
}

void signal_watch::drain() noexcept {
  const no_cancellation guard;
  const std::uint64_t signals = signals_.load(std::memory_order_relaxed);
  // The descriptors are cleared before the last look, because counting makes them readable.
  do {
    has_arrived_.store(false, std::memory_order_relaxed);
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(event_fd_, &count, sizeof count);
    epoll_event edges[2];
    epoll_wait(set_, edges, 2, 0);
  } while (count_new(signals, status_fd_));
  count_realtime();
}

void signal_watch::count_realtime() noexcept {
  const std::uint64_t signals = signals_.load(std::memory_order_relaxed) & ~standard_signals;
  const std::uint64_t pending = pending_of(signals);
  const std::uint64_t fresh = pending & ~pending_.fetch_or(pending, std::memory_order_acq_rel);
  if (fresh == 0) return;
  // A signal may have been delivered just now. If its bit in pending_ is still set, the handler has
  // not seen the bit and has counted the signal. Otherwise the handler has cleared the bit and has
  // not.
  const std::uint64_t still = pending_of(fresh);
  for (unsigned signal = 1; signal < signal_count; ++signal) {
    if ((fresh & signal_bit(signal)) == 0) continue;
    if ((still & signal_bit(signal)) == 0 && forget_pending(signal)) continue;
    count_one(signal);
  }
}

// May run in a signal handler.
void signal_watch::count_one(unsigned signal) noexcept {
  if (counts_[signal].load(std::memory_order_relaxed) == 0) {
    const std::uint32_t place = last_place_.fetch_add(1, std::memory_order_relaxed) + 1;
    places_[signal].store(place, std::memory_order_relaxed);
    times_[signal].store(clock_.load(std::memory_order_relaxed)->now(CLOCK_MONOTONIC),
                         std::memory_order_relaxed);
  }
  counts_[signal].fetch_add(1, std::memory_order_release);
}

std::uint32_t signal_watch::take_count(unsigned signal) noexcept {
  return counts_[signal].exchange(0, std::memory_order_acq_rel);
}

void signal_watch::after_fork_in_child() noexcept {
  new (&lock) base::mutex;
  watches.store(nullptr);
}

}  // namespace kedge::kqueue
