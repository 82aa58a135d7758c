// How long a kevent() call may sleep: its time-out argument. Always the real clock: a virtual one's
// owner polls.
#pragma once

#include <time.h>

#include <cstdint>

namespace kedge::kqueue {

class deadline {
 public:
  // For ever, until told otherwise.
  deadline() noexcept {}
  void set_now() noexcept { kind_ = kind::now; }
  void set(const timespec& after) noexcept;

  bool is_now() const noexcept { return kind_ == kind::now; }
  // What is left of it, for epoll_pwait2: null for ever. Valid until the next call. Becomes now
  // when nothing is left.
  const timespec* left() noexcept { return kind_ == kind::never ? nullptr : counted_down(); }

 private:
  enum class kind : std::uint8_t { never, now, later };

  const timespec* counted_down() noexcept;

  kind kind_ = kind::never;
  bool fresh_;  // left_ is the whole of it: not slept yet. This and the rest: of `later`.
  timespec left_;
  std::uint64_t deadline_;  // ns of CLOCK_MONOTONIC
};

}  // namespace kedge::kqueue
