// The table of filters with those of this folder in it, and the owner hook.
#include "kedge/runtime/kqueue/filter_table.h"

#include <atomic>

namespace kedge::kqueue {
namespace {

constinit std::atomic<bool> hook_is_set{false};
constinit std::atomic<void* (*)() noexcept> capture_hook{nullptr};
constinit std::atomic<void (*)(void*) noexcept> disown_hook{nullptr};

}  // namespace

// By filter_index().
constinit std::atomic<const filter_operations*> all_filters[filter_count]{
    &read_filter,
    &write_filter,
    nullptr,
    &vnode_filter,
    &proc_filter,
    &signal_filter,
    &timer_filter,
    nullptr,
    nullptr,
    &user_filter,
    nullptr,
    nullptr,
    &continuous_timer_filter,
    nullptr,
    &except_filter,
    &low_water_filter,
};
static_assert(filter_index(EVFILT_READ) == 0 && filter_index(EVFILT_WRITE) == 1 &&
              filter_index(EVFILT_VNODE) == 3 && filter_index(EVFILT_PROC) == 4 &&
              filter_index(EVFILT_SIGNAL) == 5 && filter_index(EVFILT_TIMER) == 6 &&
              filter_index(EVFILT_USER) == 9 && filter_index(EVFILT_EXCEPT) == 14 &&
              filter_index(continuous_timers) == 12 && filter_index(low_water_polls) == 15);

bool register_filter(std::int16_t filter, const filter_operations& operations) noexcept {
  const unsigned index = filter_index(filter);
  if (index >= filter_count) return false;
  const filter_operations* vacant = nullptr;
  return all_filters[index].compare_exchange_strong(vacant, &operations, std::memory_order_acq_rel);
}

bool set_owner_hook(const owner_hook& hook) noexcept {
  if (hook_is_set.exchange(true, std::memory_order_acq_rel)) return false;
  disown_hook.store(hook.disown, std::memory_order_release);
  capture_hook.store(hook.capture, std::memory_order_release);
  return true;
}

void* capture_owner() noexcept {
  const auto capture = capture_hook.load(std::memory_order_acquire);
  return capture != nullptr ? capture() : nullptr;
}

void disown(void* owner) noexcept {
  const auto give_up = disown_hook.load(std::memory_order_acquire);
  if (owner != nullptr && give_up != nullptr) give_up(owner);
}

}  // namespace kedge::kqueue
