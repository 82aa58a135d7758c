// The tables of a message, and the pool of free messages (Darwin: ipc_kmsg_alloc, ipc_kmsg_free).
#include "kedge/mach/kernel/core/kmsg.h"

#include <mutex>
#include <new>

namespace kedge::mach::kernel {

bool kmsg::reserve(std::uint32_t rights, std::uint32_t memories) noexcept {
  if (rights > few_rights_.size()) {
    more_rights_.reset(new (std::nothrow) carried_right[rights]);
    if (!more_rights_) return false;
  } else {
    few_rights_.fill({});
  }
  right_count = rights;
  if (memories > 0) {
    memories_.reset(new (std::nothrow) carried_memory[memories]);
    if (!memories_) return false;
    memory_count = memories;
  }
  return true;
}

kmsg* kmsg_pool::size_class::take_listed() noexcept {
  const std::lock_guard hold(lock);
  kmsg* const message = first;
  if (!message) return nullptr;
  first = message->next;
  --count;
  return message;
}

bool kmsg_pool::size_class::list(kmsg* message, std::uint32_t at_most) noexcept {
  const std::lock_guard hold(lock);
  if (count >= at_most) return false;
  message->next = first;
  first = message;
  ++count;
  return true;
}

kmsg* kmsg_pool::find_or_make(mach_msg_size_t size) noexcept {
  std::size_t needed = std::size_t{size} + sizeof(mach_msg_max_trailer_t);
  std::uint8_t index = 0;
  while (index < classes && capacities[index] < needed) ++index;
  if (index < classes) {
    size_class& from = classes_[index];
    if (kmsg* const cached = from.take_cached()) return cached;
    if (kmsg* const listed = from.take_listed()) return listed;
    needed = capacities[index];
  }
  void* const memory = ::operator new(sizeof(kmsg) + needed, std::nothrow);
  return memory ? new (memory) kmsg(*this, index) : nullptr;
}

void kmsg_pool::give_back(kmsg* message) noexcept {
  if (message->right_count != 0) [[unlikely]] {
    message->more_rights_.reset();
    message->right_count = 0;
  }
  if (message->memory_count != 0) [[unlikely]] {
    message->memories_.reset();
    message->memory_count = 0;
  }
  message->complex = message->only_few_ports = message->circular = message->room_awaited = false;
  message->destination = message->reply = message->voucher = {};
  recycle(message);
}

void kmsg_pool::keep(kmsg* message) noexcept {
  const std::uint8_t index = message->size_class_;
  if (index == classes || !message->home_.classes_[index].list(message, kept_at_most[index])) {
    destroy(message);
  }
}

void kmsg_pool::destroy(kmsg* message) noexcept {
  message->~kmsg();
  ::operator delete(message);
}

kmsg_pool::~kmsg_pool() {
  for (size_class& each : classes_) {
    if (kmsg* const cached = each.cached.load(std::memory_order_acquire)) destroy(cached);
    while (kmsg* const message = each.take_listed()) destroy(message);
  }
}

}  // namespace kedge::mach::kernel
