// A pending call that blocks its thread on a futex.
#include "kedge/mach/kernel/embedded/futex_call.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "kedge/mach/kernel/embedded/clock.h"

namespace kedge::mach::kernel {
namespace {

constexpr std::uint64_t second = 1000000000u;

}  // namespace

std::uint64_t monotonic_now() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * second + static_cast<std::uint64_t>(now.tv_nsec);
}

void futex_call::wake() noexcept {
  // Once the word is set the waiting thread may be gone with the pending_call: nothing but the
  // address is used afterwards.
  std::atomic<std::uint32_t>* const word = &word_;
  if (base::parker* const scheduler = parked_by_) [[unlikely]] {
    word->store(woken, std::memory_order_release);
    return scheduler->unpark(word);
  }
  word->store(woken, std::memory_order_release);
  syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
}

void futex_call::look_at_clock() noexcept {
  word_.fetch_or(look, std::memory_order_acq_rel);
  syscall(SYS_futex, &word_, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
}

futex_call::ended futex_call::wait(std::uint64_t deadline) noexcept {
  if (base::parker* const scheduler = base::parker::of_thread()) [[unlikely]]
    return park(*scheduler, deadline);
  const clocked_wait by_clock(*this, deadline);
  return sleep(deadline, by_clock.is_listed());
}

futex_call::ended futex_call::park(base::parker& by, std::uint64_t deadline) noexcept {
  parked_by_ = &by;
  ended how = ended::woken;
  while ((word_.load(std::memory_order_acquire) & woken) == 0) {
    const base::parker::ended how_parked = by.park(&word_, deadline);
    if (how_parked == base::parker::ended::woken) continue;
    if ((word_.load(std::memory_order_acquire) & woken) != 0) break;
    how = how_parked == base::parker::ended::timed_out ? ended::timed_out : ended::interrupted;
    break;
  }
  parked_by_ = nullptr;
  return how;
}

futex_call::ended futex_call::sleep(std::uint64_t deadline, bool by_replaced_clock) noexcept {
  // A futex wait with a time-out is not restarted after a handler, so there always is one.
  constexpr std::uint64_t far = std::uint64_t{1} << 60;
  const std::uint64_t until = by_replaced_clock ? far : std::min(deadline, far);
  const timespec absolute{static_cast<time_t>(until / second), static_cast<long>(until % second)};
  for (;;) {
    // Clears the bit before the clock is read: a later move of the clock sets it again.
    if (word_.fetch_and(~look, std::memory_order_acq_rel) & woken) return ended::woken;
    if (by_replaced_clock && clock_now() >= deadline) return ended::timed_out;
    if (syscall(SYS_futex, &word_, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, &absolute, nullptr,
                FUTEX_BITSET_MATCH_ANY) == 0) {
      continue;
    }
    if (errno == EAGAIN) continue;
    if (word_.load(std::memory_order_acquire) & woken) return ended::woken;
    if (errno == ETIMEDOUT && !by_replaced_clock) return ended::timed_out;
    if (errno == EINTR) return ended::interrupted;
  }
}

}  // namespace kedge::mach::kernel
