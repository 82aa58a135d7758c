// futex_call: a call of a thread of this process, which waits on a futex.
#pragma once

#include <atomic>
#include <cstdint>

#include "kedge/mach/kernel/core/pending_call.h"
#include "kedge/runtime/base/parker.h"

namespace kedge::mach::kernel {

class futex_call final : public pending_call {
 public:
  enum class ended { woken, timed_out, interrupted };

  // To be called before each step of the call that may park it.
  void prepare() noexcept { word_.store(0, std::memory_order_relaxed); }

  void wake() noexcept override;

  // Nanoseconds of the clock in use (clock.h); the largest value: never. A signal handler's run
  // ends the wait, whatever SA_RESTART says.
  ended wait(std::uint64_t deadline) noexcept;
  // The same by the machine's clock, though the program may have replaced it.
  ended wait_by_machine(std::uint64_t deadline) noexcept { return sleep(deadline, false); }
  void wait_until_woken() noexcept {
    while (wait(never) != ended::woken) {
    }
  }

  // Makes a wait by a replaced clock read the clock again. Requires that the call is listed.
  void look_at_clock() noexcept;

  static constexpr std::uint64_t never = ~std::uint64_t{0};

 private:
  // Bits of the word.
  static constexpr std::uint32_t woken = 1;
  static constexpr std::uint32_t look = 2;  // the clock has moved

  ended sleep(std::uint64_t deadline, bool by_replaced_clock) noexcept;

  ended park(base::parker& by, std::uint64_t deadline) noexcept;

  std::atomic<std::uint32_t> word_{0};
  base::parker* parked_by_ = nullptr;  // of the waiting thread, if a scheduler runs it
};

std::uint64_t monotonic_now() noexcept;

}  // namespace kedge::mach::kernel
