#pragma once

// How long a kevent() call may sleep: its time-out argument. Always the real clock: a virtual one's owner
// polls.

#include <time.h>

#include <cstdint>

namespace kedge::kqueue {

class time_limit {
 public:
  static time_limit never() noexcept { return time_limit(kind::never); }
  static time_limit now() noexcept { return time_limit(kind::now); }
  static time_limit after(const timespec& t) noexcept;

  bool is_now() const noexcept { return kind_ == kind::now; }
  // What is left of it, for epoll_pwait2: null for ever. Valid until the next call. Becomes now() when
  // nothing is left.
  const timespec* left() noexcept;

 private:
  enum class kind : std::uint8_t { never, now, later };
  explicit time_limit(kind k) noexcept : kind_(k) {}

  kind kind_;
  bool fresh_ = false;  // left_ is the whole of it: not slept yet
  timespec left_{};
  std::uint64_t deadline_ = 0;  // ns of CLOCK_MONOTONIC
};

// Nanoseconds of CLOCK_MONOTONIC.
std::uint64_t monotonic_now() noexcept;

}  // namespace kedge::kqueue
