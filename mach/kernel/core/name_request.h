// name_request: the dead-name and send-possible requests at one port, in a table of the port with
// one slot for each name (Darwin: ipc_port_request). The port lock guards the table.
#pragma once

#include <mach/port.h>

#include <cstdint>
#include <vector>

namespace kedge::mach::kernel {

class port;

struct name_request {
  port* notify = nullptr;  // a send-once right; null: the slot is free
  mach_port_name_t name = MACH_PORT_NULL;
  std::uint32_t next_free = 0;
  bool send_possible = false;
  bool armed = false;  // to be notified of room: a send has found the queue full
};

class request_table {
 public:
  // Returns the index of the new slot, never 0. Slots are handed out in Darwin's order: programs
  // see it as the order of dead-name notifications.
  std::uint32_t add(port* notify, mach_port_name_t name, bool send_possible, bool armed);
  // Makes room for at least so many slots, counting slot 0, which is unused.
  void grow(std::uint32_t slots);
  // Empties the slot and returns its send-once right.
  port* remove(std::uint32_t index) noexcept;
  name_request& operator[](std::uint32_t index) noexcept { return slots_[index]; }
  const name_request& operator[](std::uint32_t index) const noexcept { return slots_[index]; }
  // Returns the number of slots, including free ones and the unused slot 0. It is 0 before the
  // first request.
  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(slots_.size()); }

 private:
  std::vector<name_request> slots_;
  std::uint32_t free_ = 0;
};

}  // namespace kedge::mach::kernel
