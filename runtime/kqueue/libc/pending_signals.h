// pending_signals: signals that EVFILT_SIGNAL has counted while they are pending, and keeps pending
// for the program.
//
// Darwin counts a signal each time that it is sent. Linux merges a signal into one that is pending
// already, and reports nothing. So a pending signal must leave the process's pending set as soon as
// it is counted, or its kqueue would be deaf to the next one. But the program must still find it.
//
// So a signal that all threads block is moved, with its siginfo: the thread that counts it (the
// holder) takes it from the process's pending set and sends it to itself. The next signal for the
// process does not merge with it. The kernel does the rest: sigpending(), an unblocking by whatever
// call, sigwait(), a signalfd, exec (which keeps it), fork (which does not) and SIG_IGN (which
// discards it) treat it as pending. si_errno, which Linux does not use, says that it is counted.
//
// Another thread could now miss it. So the calls in libc/signal_mask_calls.cc fetch it from the
// holder. They cannot remove the holder's copy. The number in its si_errno says that it is out of
// date. The holder's next call drops it.
//
// A signal that cannot be moved safely is counted in place: it stays where it is, and is not
// counted again when it is handled or accepted. A signal that merges with it is lost. This is so if
// another thread may receive the signal, or is not known to block it (thread_status.h), and for a
// signal that was sent to a thread.
//
// This is about the signals 1 to 31. Real-time signals, which Darwin does not have, are not moved.
//
// Threads: any. All but count_new() and set_watched() may be called in a signal handler. All keep
// errno.
#pragma once

#include <signal.h>

#include <cstdint>
#include <optional>

#include "kedge/runtime/kqueue/libc/signal_mask.h"

namespace kedge::kqueue {

inline constexpr std::uint64_t standard_signals = 0x7fff'ffff;  // 1 to 31. Bit signal - 1

// Calls signal_delivered() for each of `signals` that is pending and not counted. `process_status`:
// the status file of the process (/proc/self/status), or -1. Returns whether a signalfd of these
// signals has become readable by it, or there may be more by now.
bool count_new(std::uint64_t signals, int process_status) noexcept;

// The siginfo of a signal that was delivered or accepted.
enum class signal_state : std::uint8_t {
  fresh,        // to be counted
  counted,      // the siginfo is restored
  out_of_date,  // another thread has fetched the signal: to be dropped
};
signal_state examine(siginfo_t& info) noexcept;

// The program is about to ignore the signal, which discards it where it is pending: counts it.
void discard_pending(unsigned signal) noexcept;

// The library is about to change the disposition to one that ignores the signal: takes the signal
// if it is pending. And makes it pending again afterwards, for the calling thread.
std::optional<siginfo_t> take_pending(unsigned signal) noexcept;
void make_pending(unsigned signal, const siginfo_t& info) noexcept;

// A signal is watched by a kqueue, or not any more.
void set_watched(unsigned signal, bool is_watched) noexcept;

// Drops what is pending for the calling thread and out of date. To be called before a call that
// would find it.
void drop_old_copies() noexcept;

// The calling thread has a new signal mask, or is about to have it (`blocked`): it fetches counted
// signals that it does not block.
void after_mask_change() noexcept;
void before_mask_change(std::uint64_t blocked) noexcept;

// Adds signals that other threads hold.
void add_held_signals(sigset_t& pending) noexcept;

// For as long as it lives, the calling thread is in a call that takes, or unblocks, some signals:
// it has fetched those that other threads hold, and those that come are counted in place. One that
// is left by siglongjmp() counts for ever: the signals are counted in place from then on.
class signal_taker {
 public:
  // `signals`: bit signal - 1.
  explicit signal_taker(std::uint64_t signals) noexcept;
  // Of a call with this mask, or null.
  static signal_taker by_mask(const sigset_t* mask) noexcept {
    return signal_taker(mask != nullptr ? ~bits_of(*mask) : 0);
  }
  signal_taker(const signal_taker&) = delete;
  signal_taker& operator=(const signal_taker&) = delete;
  ~signal_taker() {
    if (signals_ != 0) end();
  }

 private:
  void end() noexcept;

  std::uint64_t signals_;
};

// In the child of a fork nothing is pending.
void forget_pending_in_child() noexcept;

}  // namespace kedge::kqueue
