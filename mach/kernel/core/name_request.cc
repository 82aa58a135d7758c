// The table of requests, with Darwin's order of slots (Darwin: ipc_port_request_alloc, _grow).
#include "kedge/mach/kernel/core/name_request.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace kedge::mach::kernel {

std::uint32_t request_table::add(port* notify, mach_port_name_t name, bool send_possible,
                                 bool armed) {
  if (free_ == 0) {
    grow(std::max(2 * size(), 2u));
  }
  const std::uint32_t index = free_;
  free_ = slots_[index].next_free;
  slots_[index] = {notify, name, 0, send_possible, armed};
  return index;
}

// The highest new slot is used first (Darwin: ipc_port_request_grow).
void request_table::grow(std::uint32_t slots) {
  if (slots <= size()) return;
  std::uint32_t index = std::max(size(), 1u);
  slots_.resize(std::max(std::bit_ceil(slots), 2u));
  for (; index < size(); ++index) {
    slots_[index].next_free = free_;
    free_ = index;
  }
}

port* request_table::remove(std::uint32_t index) noexcept {
  port* notify = std::exchange(slots_[index], {}).notify;
  slots_[index].next_free = free_;
  free_ = index;
  return notify;
}

}  // namespace kedge::mach::kernel
