#pragma once

// Which signals of this thread ran into the handler of signal_watch: those that the program ignores must not
// surface as EINTR, as they would not if there were no handler.

namespace kedge::kqueue {

struct interruption {
  unsigned ignored = 0;  // signals that nobody but a kqueue cared for
  unsigned handled = 0;  // those passed on to a handler of the program

  static interruption current() noexcept;

  // True if since `before` this thread's handler ran, and only for ignored signals.
  bool only_ignored_since(const interruption& before) const noexcept {
    return ignored != before.ignored && handled == before.handled;
  }
};

}  // namespace kedge::kqueue
