// extension: what the Linux kqueue offers beyond Darwin's interface. An event loop can opt out of
// fidelity that costs and that it does not need.
//
//   kedge::kqueue::opt_out(kq, kedge::kqueue::no_data | kedge::kqueue::not_pollable);
//
// On Darwin these functions are inline and return "not supported", so callers need no #if. Any
// thread may call them. A `kq` that is not a kqueue of this process is "not supported".
#pragma once

#include <sys/event.h>

#include <cstdint>

namespace kedge::kqueue {

// Options, as bits.
//
// no_data: `data` of READ and WRITE events is 0. Saves an ioctl per event.
//
// not_pollable: the descriptor need not become readable when a knote is activated in user space
// (USER, Mach ports). Saves a write per activation. A thread asleep in kevent() is still woken.
inline constexpr unsigned no_data = 1;
inline constexpr unsigned not_pollable = 2;

// Returns the nanoseconds of a monotonic clock. Must be callable from any thread.
using clock_function = std::uint64_t (*)() noexcept;

#if defined(__APPLE__)

inline bool opt_out(int, unsigned) noexcept {
  return false;
}
inline bool opt_in(int, unsigned) noexcept {
  return false;
}
inline int take_active(int, kevent64_s*, int) noexcept {
  return 0;
}
inline bool use_clock(clock_function) noexcept {
  return false;
}

#else

// Sets or clears `options`. Returns false and changes nothing if that is not supported: a bit is
// unknown, or `kq` is not a kqueue. If knotes are active, opt_in(not_pollable) makes the descriptor
// readable before it returns.
bool opt_out(int kq, unsigned options) noexcept;
bool opt_in(int kq, unsigned options) noexcept;

// Delivers knotes that are already active in user space, like kevent64() with a zero time-out, but
// without a system call and so without checking descriptors and timers. Returns the number of
// events, 0 also if `kq` is not a kqueue. The caller bounds how often it does so between full
// calls.
int take_active(int kq, kevent64_s* events, int nevents) noexcept;

// Replaces the clock of all EVFILT_TIMER knotes of the process. Null restores the default,
// CLOCK_MONOTONIC. With a replaced clock no timer wakes a thread: each kevent() call reads the
// clock and reports the timers that are due. Requires that no timer is armed. Returns false on
// Darwin.
bool use_clock(clock_function) noexcept;

#endif

}  // namespace kedge::kqueue
