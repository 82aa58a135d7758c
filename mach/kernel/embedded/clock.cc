// Implements use_clock() and clock_moved() of extension.h, and the waits of the binding by either
// clock.
#include "kedge/mach/kernel/embedded/clock.h"

#include <time.h>

#include <atomic>
#include <mutex>
#include <new>

#include "kedge/mach/kernel/core/binding.h"
#include "kedge/mach/kernel/embedded/embedded.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/runtime/base/list.h"
#include "kedge/runtime/base/mutex.h"
#include "kedge/runtime/base/parker.h"

namespace kedge::mach::kernel {
namespace {

constinit std::atomic<kedge_mach_clock*> replacement{nullptr};
constinit std::atomic<void*> argument_of_replacement{nullptr};

struct clocked_waits {
  base::mutex lock;
  base::list<clocked_wait, &clocked_wait::link> all;
};

constinit clocked_waits listed;

void replace_clock(kedge_mach_clock* clock, void* argument) noexcept {
  // The argument of the last clock stays for a thread that has read the function already.
  if (clock) argument_of_replacement.store(argument, std::memory_order_relaxed);
  replacement.store(clock, std::memory_order_release);
}

void wake_clocked_waits() noexcept {
  const std::lock_guard hold(listed.lock);
  for (clocked_wait* each = listed.all.front(); each; each = decltype(listed.all)::after(*each)) {
    each->waiting().look_at_clock();
  }
}

}  // namespace

bool is_clock_replaced() noexcept {
  return replacement.load(std::memory_order_acquire) != nullptr;
}

bool read_replaced_clock(std::uint64_t& now) noexcept {
  kedge_mach_clock* const replaced = replacement.load(std::memory_order_acquire);
  if (replaced) now = replaced(argument_of_replacement.load(std::memory_order_relaxed));
  return replaced != nullptr;
}

std::uint64_t clock_now() noexcept {
  std::uint64_t now = 0;
  return read_replaced_clock(now) ? now : monotonic_now();
}

std::uint64_t deadline_after(std::uint64_t nanoseconds) noexcept {
  const std::uint64_t now = clock_now();
  return nanoseconds < futex_call::never - now ? now + nanoseconds : futex_call::never;
}

clocked_wait::clocked_wait(futex_call& waiting, std::uint64_t deadline) noexcept
    : waiting_(waiting), listed_(deadline != futex_call::never && is_clock_replaced()) {
  if (!listed_) return;
  const std::lock_guard hold(listed.lock);
  listed.all.push_back(*this);
}

clocked_wait::~clocked_wait() {
  if (!listed_) return;
  const std::lock_guard hold(listed.lock);
  listed.all.remove(*this);
}

void forget_clocked_waits() noexcept {
  ::new (static_cast<void*>(&listed)) clocked_waits;
}

bool wait_until(std::uint64_t deadline) noexcept {
  futex_call waiting;
  const futex_call::ended how = waiting.wait(deadline);
  if (how == futex_call::ended::interrupted) {
    if (base::parker* const scheduler = base::parker::of_thread()) scheduler->leave();
  }
  return how == futex_call::ended::timed_out;
}

}  // namespace kedge::mach::kernel

extern "C" bool kedge_mach_use_clock(kedge_mach_clock* clock, void* argument) noexcept {
  kedge::mach::kernel::replace_clock(clock, argument);
  return true;
}

extern "C" void kedge_mach_clock_moved() noexcept {
  // Before a call looks at its time-out, it gets the messages of the timers that are due.
  kedge::mach::kernel::embedded::expire_timers();
  kedge::mach::kernel::wake_clocked_waits();
}
