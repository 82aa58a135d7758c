#include "kedge/mach/kernel/core/name_request.h"

#include <utility>

namespace kedge::mach::kernel {

std::uint32_t request_table::add(port* notify, mach_port_name_t name, bool send_possible,
                                 bool armed) {
  if (free_ == 0) {
    // The table doubles, and the highest new slot is used first (ipc_port_request_grow).
    const std::uint32_t old_size = slots_.empty() ? 1 : size();
    slots_.resize(slots_.empty() ? 2 : std::size_t{2} * old_size);
    for (std::uint32_t index = old_size; index < size(); ++index) {
      slots_[index].next_free = free_;
      free_ = index;
    }
  }
  const std::uint32_t index = free_;
  free_ = slots_[index].next_free;
  slots_[index] = {notify, name, 0, send_possible, armed};
  return index;
}

port* request_table::remove(std::uint32_t index) noexcept {
  port* notify = std::exchange(slots_[index], {}).notify;
  slots_[index].next_free = free_;
  free_ = index;
  return notify;
}

}  // namespace kedge::mach::kernel
