// filter_table: all filters of the process, by EVFILT_*, and the owner hook.
//
// Threads: an entry is set once and never changes after that. Any thread may read it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kedge/runtime/kqueue/filter.h"

namespace kedge::kqueue {

// EVFILT_SYSCOUNT of xnu-11417. Its last filter is in no public header.
inline constexpr unsigned filter_count = 18;
static_assert(filter_count > EVFILT_SYSCOUNT);

// The index of an EVFILT_*, which count down from -1. filter_count or more if there is no such
// filter.
constexpr unsigned filter_index(std::int16_t filter) noexcept {
  return filter < 0 ? static_cast<unsigned>(~filter) : filter_count;
}

extern std::atomic<const filter_operations*> all_filters[filter_count];

// Returns the filter with this index, or null.
inline const filter_operations* filter_at(unsigned index) noexcept {
  return index < filter_count ? all_filters[index].load(std::memory_order_acquire) : nullptr;
}

// Run the owner hook.
void* capture_owner() noexcept;
void disown(void* owner) noexcept;

// Two entries of the table are not filters of Darwin. They have a state and a pump, but no knotes,
// and take values of EVFILT_* that Darwin does not use: the timers that advance while the machine
// sleeps (filters/timer_filter.cc), and filters/low_water_poller.h.
inline constexpr std::int16_t continuous_timers = -13;
inline constexpr std::int16_t low_water_polls = -16;

// Each is defined in the file of its name in filters/, except read_filter, write_filter and
// except_filter (descriptor_filter.cc), continuous_timer_filter (timer_filter.cc) and
// low_water_filter (low_water_poller.cc).
extern const filter_operations continuous_timer_filter;
extern const filter_operations proc_filter;
extern const filter_operations read_filter;
extern const filter_operations write_filter;
extern const filter_operations except_filter;
extern const filter_operations vnode_filter;
extern const filter_operations low_water_filter;
extern const filter_operations signal_filter;
extern const filter_operations timer_filter;
extern const filter_operations user_filter;

}  // namespace kedge::kqueue
