// virtual_clock: a clock that the test moves, in use for the scope (extension.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "kedge/mach/kernel/extension.h"

namespace test {

inline constexpr std::uint64_t hour = 3600'000'000'000;

class virtual_clock {
 public:
  virtual_clock() { kedge::mach::kernel::use_clock(read, this); }
  ~virtual_clock() { kedge::mach::kernel::use_clock(nullptr, nullptr); }
  virtual_clock(const virtual_clock&) = delete;
  virtual_clock& operator=(const virtual_clock&) = delete;

  std::uint64_t now() const { return now_; }
  void advance(std::uint64_t nanoseconds) {
    now_ += nanoseconds;
    kedge::mach::kernel::clock_moved();
  }
  // Waits until the clock has been read so often.
  void await_readings(std::uint64_t count) const {
    while (readings_ < count) std::this_thread::yield();
  }
  std::uint64_t readings() const { return readings_; }

 private:
  static std::uint64_t read(void* of) noexcept {
    virtual_clock& self = *static_cast<virtual_clock*>(of);
    const std::uint64_t now = self.now_;
    ++self.readings_;
    return now;
  }

  std::atomic<std::uint64_t> now_{5 * hour};
  std::atomic<std::uint64_t> readings_{0};
};

}  // namespace test
