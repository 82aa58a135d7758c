// The deadline of a kevent() call on CLOCK_MONOTONIC.
#include "kedge/runtime/kqueue/deadline.h"

namespace kedge::kqueue {
namespace {

constexpr std::uint64_t second = 1'000'000'000;

std::uint64_t monotonic_now() noexcept {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * second + static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace

void deadline::set(const timespec& timeout) noexcept {
  const std::uint64_t length = static_cast<std::uint64_t>(timeout.tv_sec) * second +
                               static_cast<std::uint64_t>(timeout.tv_nsec);
  if (length == 0) return set_now();
  kind_ = kind::later;
  clock_ = nullptr;
  ends_at_ = monotonic_now() + length;
  remaining_.tv_sec = static_cast<time_t>(length / second);
  remaining_.tv_nsec = static_cast<long>(length % second);
  fresh_ = true;
}

void deadline::follow(const timer_clock& clock) noexcept {
  if (kind_ != kind::later || clock_ != nullptr) return;
  const std::uint64_t length = static_cast<std::uint64_t>(remaining_.tv_sec) * second +
                               static_cast<std::uint64_t>(remaining_.tv_nsec);
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
    const std::uint64_t now = monotonic_now();
    const std::uint64_t rest = now < ends_at_ ? ends_at_ - now : 0;
    remaining_.tv_sec = static_cast<time_t>(rest / second);
    remaining_.tv_nsec = static_cast<long>(rest % second);
    if (rest == 0) kind_ = kind::now;
  }
  fresh_ = false;
  return &remaining_;
}

}  // namespace kedge::kqueue
