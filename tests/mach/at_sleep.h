// at_sleep: notes that its loop is about to wait, which is when a deadlock is looked for.
#pragma once

#include <atomic>

#include "kedge/runtime/observer.h"

namespace kedge::mach {

class at_sleep final : public observer {
 public:
  void at(happening what, const context*, const waiter*) noexcept override {
    if (what == happening::asleep) is_asleep = true;
  }
  std::atomic<bool> is_asleep{false};
};

}  // namespace kedge::mach
