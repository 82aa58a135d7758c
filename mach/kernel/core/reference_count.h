// reference_count: counts the references to an object, from one. Not atomic while the process has
// one thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "kedge/runtime/base/one_thread.h"

namespace kedge::mach::kernel {

class reference_count {
 public:
  // Forced inline, with its callers: every message adds references, and g++ would call a function.
  [[gnu::always_inline]] void add() noexcept {
    if (base::one_thread()) {
      count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    } else {
      count_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  // Returns true if this was the last reference.
  bool remove() noexcept {
    if (!base::one_thread()) return count_.fetch_sub(1, std::memory_order_acq_rel) == 1;
    const std::uint32_t before = count_.load(std::memory_order_relaxed);
    count_.store(before - 1, std::memory_order_relaxed);
    return before == 1;
  }

 private:
  std::atomic<std::uint32_t> count_{1};
};

}  // namespace kedge::mach::kernel
