// All filters of the process, by EVFILT_* number, and the owner hook.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kedge/runtime/kqueue/filter.h"

namespace kedge::kqueue {

inline constexpr unsigned filter_count = EVFILT_SYSCOUNT;

// EVFILT_* numbers count down from -1: the index of one; filter_count or more for none.
constexpr unsigned filter_index(std::int16_t filter) noexcept {
  return filter < 0 ? static_cast<unsigned>(~filter) : filter_count;
}

extern std::atomic<const filter_operations*> all_filters[filter_count];

// The operations of the filter with this index, or null. Never changes once it is there.
inline const filter_operations* filter_at(unsigned index) noexcept {
  return index < filter_count ? all_filters[index].load(std::memory_order_acquire) : nullptr;
}

// Runs the owner hook.
void* capture_owner() noexcept;
void disown(void* owner) noexcept;

// The number that the timers which go on while the machine sleeps stand under (filter_timer.cc):
// unused on Darwin.
inline constexpr std::int16_t continuous_timer_number = -13;

// And the one for low_water_poller.h.
inline constexpr std::int16_t write_mark_number = -16;

// Those that are always there, each in the file of its name.
extern const filter_operations continuous_timer_source;
extern const filter_operations proc_filter;
extern const filter_operations read_filter;
extern const filter_operations write_filter;
extern const filter_operations except_filter;
extern const filter_operations vnode_filter;
extern const filter_operations write_mark_source;
extern const filter_operations signal_filter;
extern const filter_operations timer_filter;
extern const filter_operations user_filter;

}  // namespace kedge::kqueue
