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

void deadline::set(const timespec& after) noexcept {
  const std::uint64_t length =
      static_cast<std::uint64_t>(after.tv_sec) * second + static_cast<std::uint64_t>(after.tv_nsec);
  if (length == 0) return set_now();
  kind_ = kind::later;
  deadline_ = monotonic_now() + length;
  left_.tv_sec = static_cast<time_t>(length / second);
  left_.tv_nsec = static_cast<long>(length % second);
  fresh_ = true;
}

const timespec* deadline::counted_down() noexcept {
  static constexpr timespec nothing{};
  if (kind_ == kind::now) return &nothing;
  if (!fresh_) {
    const std::uint64_t t = monotonic_now();
    const std::uint64_t rest = t < deadline_ ? deadline_ - t : 0;
    left_.tv_sec = static_cast<time_t>(rest / second);
    left_.tv_nsec = static_cast<long>(rest % second);
    if (rest == 0) kind_ = kind::now;
  }
  fresh_ = false;
  return &left_;
}

}  // namespace kedge::kqueue
