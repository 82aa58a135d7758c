#include "kedge/mach/kernel/core/kmsg.h"

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

kmsg* kmsg_pool::find_or_make(mach_msg_size_t size) noexcept {
  std::size_t needed = std::size_t{size} + sizeof(mach_msg_max_trailer_t);
  std::uint8_t size_class = 0;
  while (size_class < classes && capacities[size_class] < needed) ++size_class;
  if (size_class < classes) {
    shelf& from = shelves_[size_class];
    if (kmsg* handy = from.take_handy()) return handy;
    from.lock.lock();
    kmsg* message = from.first;
    if (message) {
      from.first = message->next;
      --from.count;
    }
    from.lock.unlock();
    if (message) return message;
    needed = capacities[size_class];
  }
  void* memory = ::operator new(sizeof(kmsg) + needed, std::nothrow);
  return memory ? new (memory) kmsg(*this, size_class) : nullptr;
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

void kmsg_pool::shelve(kmsg* message) noexcept {
  if (message->size_class_ < classes) {
    shelf& to = message->home_.shelves_[message->size_class_];
    to.lock.lock();
    const bool kept = to.count < kept_at_most[message->size_class_];
    if (kept) {
      message->next = to.first;
      to.first = message;
      ++to.count;
    }
    to.lock.unlock();
    if (kept) return;
  }
  destroy(message);
}

void kmsg_pool::destroy(kmsg* message) noexcept {
  message->~kmsg();
  ::operator delete(message);
}

kmsg_pool::~kmsg_pool() {
  for (shelf& each : shelves_) {
    if (kmsg* handy = each.handy.load(std::memory_order_acquire)) destroy(handy);
    while (kmsg* message = each.first) {
      each.first = message->next;
      destroy(message);
    }
  }
}

}  // namespace kedge::mach::kernel
