// interruption: which kind of signal handler interrupted this thread's wait. Signals that the
// program ignores must not surface as EINTR from kevent(), as they would not if the library's
// handler (libc/signal_disposition.h) were not installed.
#pragma once

namespace kedge::kqueue {

enum class interruption : unsigned char {
  none,
  ignored,  // only signals that the program ignores, and that a kqueue counts
  handled,  // a signal that was passed on to the program
};

// Of this thread since it stored `none`. Volatile: a signal handler changes it.
inline constinit thread_local volatile interruption interrupted = interruption::none;

}  // namespace kedge::kqueue
