// dump_on(signal, out): a task that prints the loop's tree of tasks for each delivery of a signal.
//
//     loop.spawn(kedge::dump_on(kedge::info_signal, std::cerr));     // then: kill -USR1 PID
//
// The tree is that of loop::dump(). The signal is taken by a signal_set: a task that keeps the loop
// busy delays the print (see stall_watch.h). Before the task's first turn the signal has its former
// effect. The task ends by cancellation only, so it belongs into
// the loop's own scope; run() does not wait for it. It throws std::system_error (EINVAL) for a
// signal that cannot be caught, and what `out` throws. `out` must live until the task has ended.
//
// A signal can always come, so run() reports no deadlock while the task waits: the dump shows it.
//
// Threads: the loop's thread only.
#pragma once

#include <csignal>
#include <iosfwd>

#include "kedge/runtime/task.h"

namespace kedge {

// The signal by which a terminal asks for information (Ctrl-T), on systems that have one.
#ifdef SIGINFO
inline constexpr int info_signal = SIGINFO;
#else
inline constexpr int info_signal = SIGUSR1;
#endif

task<> dump_on(int signal, std::ostream& out);

}  // namespace kedge
