// What the program wants done with signals that kqueues watch. Such a signal is covered: a handler
// of ours stands in front, which counts it (signal_watch.h) and then does what the program's
// disposition says, as the kernel would: calls its handler with its flags and mask, ignores it,
// takes the default action. The program sees and changes its own disposition and never ours: the
// calls that do so are defined in signal_calls.cc and come here.
#pragma once

#include <signal.h>

namespace kedge::kqueue {

inline constexpr unsigned signal_count = 65;  // 1 to 64

// Puts our handler in front, and takes it away; as often each. Signals that cannot be handled
// (SIGKILL) are covered in vain.
void cover_signal(unsigned signal) noexcept;
void uncover_signal(unsigned signal) noexcept;

// sigaction(2) of the program, whether the signal is covered or not. May be called in a handler.
// Returns 0, or -1 with errno.
int change_disposition(int signal, const struct sigaction* wanted,
                       struct sigaction* before) noexcept;

}  // namespace kedge::kqueue
