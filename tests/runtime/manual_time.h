// manual_time: a time_source that stands still until a test moves it. So no test waits for time.
// Its wall clock moves with it, and can be stepped besides.
#pragma once

#include <atomic>
#include <chrono>

#include "kedge/runtime/time_source.h"

namespace kedge {

class manual_time final : public time_source {
 public:
  clock::time_point now() const noexcept override { return clock::time_point(time_.load()); }
  std::chrono::system_clock::time_point wall_now() const noexcept override {
    return wall_time(time_.load() + wall_offset_.load());
  }
  // Sets the wall clock forward or back. Wakes no loop, as no kernel does.
  void step_wall(clock::duration d) noexcept { wall_offset_.store(wall_offset_.load() + d); }
  void advance(clock::duration d) noexcept {
    time_.store(time_.load() + d);
    moved();
  }

 private:
  static std::chrono::system_clock::time_point wall_time(clock::duration d) noexcept {
    using wall = std::chrono::system_clock;
    return wall::time_point(std::chrono::duration_cast<wall::duration>(d));
  }

  std::atomic<clock::duration> time_{std::chrono::hours(1)};
  std::atomic<clock::duration> wall_offset_{std::chrono::hours(1'000'000)};
};

}  // namespace kedge
