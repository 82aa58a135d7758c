#pragma once

// Which signals of this thread ran into the handler of signal_watch: those that the program ignores
// must not surface as EINTR, as they would not if there were no handler.

namespace kedge::kqueue {

struct interruption {
  unsigned ignored;  // signals that nobody but a kqueue cared for
  unsigned handled;  // those passed on to a handler of the program

  // True if since `before` this thread's handler ran, and only for ignored signals.
  bool only_ignored_since(const interruption& before) const noexcept {
    return ignored != before.ignored && handled == before.handled;
  }
};

// This thread's counts so far. Volatile: a handler changes them.
inline constinit thread_local volatile interruption interruptions{0, 0};

inline interruption interruptions_so_far() noexcept {
  return {interruptions.ignored, interruptions.handled};
}

}  // namespace kedge::kqueue
