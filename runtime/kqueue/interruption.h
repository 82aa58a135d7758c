// What interrupted this thread's wait, as far as it ran into the handler of signal_watch: signals
// that the program ignores must not surface as EINTR, as they would not if there were no handler.
#pragma once

namespace kedge::kqueue {

enum class interruption : unsigned char {
  none,
  ignored,  // only signals that nobody but a kqueue cared for
  handled,  // one that was passed on to the program
};

// Of this thread since it set `none`. Volatile: a handler changes it.
inline constinit thread_local volatile interruption interrupted = interruption::none;

}  // namespace kedge::kqueue
