// What a task does about the guard exceptions that its calls raise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "kedge/mach/kernel/core/guard_violation.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

class guard_policy {
 public:
  // As extension.h has them.
  enum class behaviour : std::uint8_t {
    ordinary,  // the always-fatal ones are delivered
    hardened,  // all are
    record,    // none is; all are kept to be looked at
  };

  void set(behaviour chosen) noexcept {
    const std::lock_guard hold(lock_);
    behaviour_ = chosen;
  }
  // Decides about a violation; empties it unless it is to be delivered.
  void apply(guard_violation& raised) {
    const std::lock_guard hold(lock_);
    if (behaviour_ == behaviour::record) recorded_.push_back(raised);
    if (behaviour_ == behaviour::record ||
        (behaviour_ == behaviour::ordinary && !raised.always_fatal())) {
      raised = {};
    }
  }
  // The oldest recorded one; false if there is none.
  bool take(guard_violation& oldest) {
    const std::lock_guard hold(lock_);
    if (recorded_.empty()) return false;
    oldest = recorded_.front();
    recorded_.erase(recorded_.begin());
    return true;
  }

 private:
  base::mutex lock_;
  behaviour behaviour_ = behaviour::ordinary;
  std::vector<guard_violation> recorded_;
};

}  // namespace kedge::mach::kernel
