// report_bypassed_calls(): says, in the first kqueue() of a process, which calls of the program
// do not reach this folder's definitions.
//
// A kqueue is notified of a close() or a sigaction() because this library defines them. They are
// the ones in effect if the dynamic linker finds them before the C library's. They are not if a
// shared library of ours was linked after the C library, loaded by dlopen() or needed only by
// another library, if an archive of ours was not linked as a whole, or if another library defines
// the same call and does not call the next definition.
//
// Nearly every call is tried, with arguments that change nothing, as another library would call it,
// and must arrive here. So a sanitizer, fakeroot and other wrappers that call the next definition
// are not reported. Calls that cannot be tried without an effect (pclose, freopen, closedir,
// sigwait, sigwaitinfo, sigsuspend, sigset, sigignore, siginterrupt, vfork) are not, nor are
// bsd_signal, ssignal, freopen64 and __ppoll_chk, which are other names of tried or untried ones.
#pragma once

namespace kedge::kqueue {

// Writes at most one line to standard error, in the first call of a process. Keeps errno. Any
// thread.
void report_bypassed_calls() noexcept;

}  // namespace kedge::kqueue
