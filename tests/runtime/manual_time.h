// manual_time: a time_source that stands still until a test moves it. So no test waits for time.
#pragma once

#include <atomic>

#include "kedge/runtime/time_source.h"

namespace kedge {

class manual_time final : public time_source {
 public:
  clock::time_point now() const noexcept override { return clock::time_point(time_.load()); }
  void advance(clock::duration d) noexcept {
    time_.store(time_.load() + d);
    moved();
  }

 private:
  std::atomic<clock::duration> time_{std::chrono::hours(1)};
};

}  // namespace kedge
