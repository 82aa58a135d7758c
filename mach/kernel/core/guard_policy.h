// guard_policy: what a task does about the guard exceptions that its calls raise.
//
// Threads: any.
#pragma once

#include <mach/task_info.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#include "kedge/mach/kernel/core/guard_violation.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

class guard_policy {
 public:
  // The same values as in extension.h.
  enum class behaviour : std::uint8_t {
    ordinary,  // delivers those that are always fatal
    hardened,  // delivers all
    record,    // delivers none, and keeps all for take()
  };

  void set(behaviour chosen) noexcept {
    const std::lock_guard hold(lock_);
    behaviour_ = chosen;
    bits_ = chosen == behaviour::hardened ? bits_ | fatal : bits_ & ~fatal;
  }
  // TASK_EXC_GUARD_*: the virtual memory's bits are kept, and have no effect. A task that records
  // goes on to record.
  void set_bits(std::uint32_t bits) noexcept {
    const std::lock_guard hold(lock_);
    bits_ = bits;
    if (behaviour_ == behaviour::record) return;
    behaviour_ = (bits & fatal) == fatal ? behaviour::hardened : behaviour::ordinary;
  }
  std::uint32_t bits() noexcept {
    const std::lock_guard hold(lock_);
    return bits_;
  }
  // Decides about a violation, and empties it unless it is to be delivered. Without memory to
  // record it, it is lost: the failed call has its result already.
  void apply(guard_violation& raised) noexcept {
    const std::lock_guard hold(lock_);
    if (behaviour_ == behaviour::record) record(raised);
    if (behaviour_ == behaviour::record ||
        (behaviour_ == behaviour::ordinary && !raised.always_fatal())) {
      raised = {};
    }
  }
  // Takes the oldest recorded violation. Returns false if there is none.
  bool take(guard_violation& oldest) {
    const std::lock_guard hold(lock_);
    if (recorded_.empty()) return false;
    oldest = recorded_.front();
    recorded_.erase(recorded_.begin());
    return true;
  }

 private:
  static constexpr std::uint32_t fatal = TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_MP_FATAL;

  void record(const guard_violation& raised) noexcept try {
    recorded_.push_back(raised);
  } catch (const std::bad_alloc&) {
    return;
  }

  base::mutex lock_;
  behaviour behaviour_ = behaviour::ordinary;
  std::uint32_t bits_ = 0;
  std::vector<guard_violation> recorded_;
};

}  // namespace kedge::mach::kernel
