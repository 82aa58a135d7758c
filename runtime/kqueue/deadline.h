// deadline: how long a kevent() call may sleep, from its time-out argument. It always uses the real
// clock: a caller with a virtual clock (use_clock()) polls.
#pragma once

#include <time.h>

#include <cstdint>

namespace kedge::kqueue {

class deadline {
 public:
  // Never, until it is set.
  deadline() noexcept {}
  void set_now() noexcept { kind_ = kind::now; }
  void set(const timespec& timeout) noexcept;

  bool is_now() const noexcept { return kind_ == kind::now; }

  // Returns the time left, as epoll_pwait2() takes it: null for ever. The result is valid until the
  // next call. When no time is left, the deadline becomes `now`.
  const timespec* remaining() noexcept { return kind_ == kind::never ? nullptr : count_down(); }

 private:
  enum class kind : std::uint8_t { never, now, later };

  const timespec* count_down() noexcept;

  kind kind_ = kind::never;
  // Set if the kind is `later`.
  bool fresh_;  // remaining_ is the whole time-out: the call has not slept yet
  timespec remaining_;
  std::uint64_t ends_at_;  // ns of CLOCK_MONOTONIC
};

}  // namespace kedge::kqueue
