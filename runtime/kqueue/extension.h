// What the Linux kqueue offers its caller beyond Darwin's interface: prices of fidelity that an
// event loop need not pay. On Darwin these are inline and say "not supported", so that the caller
// is written once. All may be called from any thread; `kq` that is no kqueue of this process: not
// supported.
#pragma once

#include <sys/event.h>

#include <cstdint>

namespace kedge::kqueue {

// What to leave out, as bits.
inline constexpr unsigned no_data = 1;  // `data` of READ and WRITE is 0: saves an ioctl per event
inline constexpr unsigned not_pollable =
    2;  // the descriptor need not become readable for activations
        // in user space (USER, Mach ports): saves a write each.
        // A thread asleep in kevent() is still woken.

// Nanoseconds of a monotonic clock. Must be callable from any thread.
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

// Starts leaving out, or again provides, what the bits of `what` say. False: not supported (an
// unknown bit, no kqueue), nothing changed. opt_in(not_pollable) posts what is pending: if knotes
// are active, the descriptor is readable when it returns.
bool opt_out(int kq, unsigned what) noexcept;
bool opt_in(int kq, unsigned what) noexcept;

// Delivers knotes that are already active in user space, like kevent64() with a zero time-out, but
// without a system call and so without looking at descriptors and timers. Returns their number; 0
// if there is none, or no such kqueue. The caller bounds how often it does so between full calls.
int take_active(int kq, kevent64_s* events, int nevents) noexcept;

// The clock of all EVFILT_TIMER knotes of the process; null: the default, CLOCK_MONOTONIC. With a
// clock of one's own nobody is woken by a timer: each kevent() call reads the clock and reports
// what is due. To be called while no timer is armed. False on Darwin.
bool use_clock(clock_function) noexcept;

#endif

}  // namespace kedge::kqueue
