#include "kedge/kqueue/filter_table.h"

#include <atomic>

namespace kedge::kqueue {
namespace {

struct operations_by_index {
  std::atomic<const filter_operations*> at[filter_count];

  operations_by_index() noexcept : at{} {
    at[filter_index(EVFILT_READ)] = &read_filter;
    at[filter_index(EVFILT_WRITE)] = &write_filter;
    at[filter_index(EVFILT_EXCEPT)] = &except_filter;
    at[filter_index(EVFILT_VNODE)] = &vnode_filter;
    at[filter_index(EVFILT_PROC)] = &proc_filter;
    at[filter_index(EVFILT_SIGNAL)] = &signal_filter;
    at[filter_index(EVFILT_TIMER)] = &timer_filter;
    at[filter_index(EVFILT_USER)] = &user_filter;
    at[filter_index(write_mark_number)] = &write_mark_source;
    at[filter_index(continuous_timer_number)] = &continuous_timer_source;
  }
};

operations_by_index& filters() noexcept {
  static operations_by_index table;
  return table;
}

constinit std::atomic<bool> hook_taken{false};
constinit std::atomic<void* (*)() noexcept> capture_hook{nullptr};
constinit std::atomic<void (*)(void*) noexcept> disown_hook{nullptr};

}  // namespace

const filter_operations* filter_at(unsigned index) noexcept {
  return index < filter_count ? filters().at[index].load(std::memory_order_acquire) : nullptr;
}

bool register_filter(std::int16_t filter, const filter_operations& operations) noexcept {
  const unsigned index = filter_index(filter);
  if (index >= filter_count) return false;
  const filter_operations* vacant = nullptr;
  return filters().at[index].compare_exchange_strong(vacant, &operations,
                                                     std::memory_order_acq_rel);
}

bool set_owner_hook(const owner_hook& hook) noexcept {
  if (hook_taken.exchange(true, std::memory_order_acq_rel)) return false;
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
