// signal_disposition: the program's dispositions of signals that kqueues watch. Such a signal is
// hooked: the library's handler is installed. It counts the signal (filters/signal_watch.h) and
// then follows the program's disposition as the kernel would: it calls the program's handler with
// its flags and mask, ignores the signal, or takes the default action. The program sees and changes
// only its own disposition, because the calls that do so are defined in signal_calls.cc and come
// here.
//
// Threads: any.
#pragma once

#include <signal.h>

namespace kedge::kqueue {

inline constexpr unsigned signal_count = 65;  // 1 to 64

// Install the library's handler, and remove it after as many calls. Has no effect for signals that
// cannot be handled (SIGKILL).
void hook_signal(unsigned signal) noexcept;
void unhook_signal(unsigned signal) noexcept;

// sigaction(2) for the program, whether the signal is hooked or not. May be called in a signal
// handler. Returns 0, or -1 with errno.
int change_disposition(int signal, const struct sigaction* wanted,
                       struct sigaction* before) noexcept;

}  // namespace kedge::kqueue
