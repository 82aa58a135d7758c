// The deadline of a kevent() call on CLOCK_MONOTONIC.
#include "kedge/runtime/kqueue/deadline.h"

#include "kedge/runtime/kqueue/nanoseconds.h"

namespace kedge::kqueue {

void deadline::set(const timespec& timeout) noexcept {
  const std::uint64_t length = nanoseconds_of(timeout);
  if (length == 0) return set_now();
  kind_ = kind::later;
  clock_ = nullptr;
  ends_at_ = now_of(CLOCK_MONOTONIC) + length;
  remaining_ = timespec_of(length);
  fresh_ = true;
}

void deadline::follow(const timer_clock& clock) noexcept {
  if (kind_ != kind::later || clock_ != nullptr) return;
  const std::uint64_t length = nanoseconds_of(remaining_);
  clock_ = &clock;
  ends_at_ = clock.now(CLOCK_MONOTONIC) + length;
}

const timespec* deadline::count_down() noexcept {
  static constexpr timespec nothing{};
  if (kind_ == kind::now) return &nothing;
  if (clock_ != nullptr) {
    if (clock_->now(CLOCK_MONOTONIC) < ends_at_) return nullptr;
    kind_ = kind::now;
    return &nothing;
  }
  if (!fresh_) {
    const std::uint64_t now = now_of(CLOCK_MONOTONIC);
    const std::uint64_t rest = now < ends_at_ ? ends_at_ - now : 0;
    remaining_ = timespec_of(rest);
    if (rest == 0) kind_ = kind::now;
  }
  fresh_ = false;
  return &remaining_;
}

}  // namespace kedge::kqueue
