// special_ports: send rights that the kernel keeps for a task outside of its space: its special
// ports, and the ports that it has registered for its children (Darwin: itk_bootstrap,
// itk_registered and the like).
//
// Threads: any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

class deferred_work;

class special_ports {
 public:
  enum class slot : std::uint8_t {
    registered_first,
    registered_second,
    registered_third,
    bootstrap,
    access,
    debug_control,
    resource_notify
  };

  special_ports() = default;
  special_ports(const special_ports&) = delete;
  special_ports& operator=(const special_ports&) = delete;

  // Stores a send right, or a null or dead one, and returns the previous one.
  carried_right exchange(slot which, carried_right next) noexcept;
  // Returns a copy of the stored send right, or a null or dead one.
  carried_right copy(slot which) noexcept;
  // Stores a send right in an empty slot. Returns false, with nothing changed, if the slot has one.
  bool set_once(slot which, carried_right next) noexcept;
  // Copies the inherited ports of the parent of a new task.
  void inherit(special_ports& parent) noexcept;
  void release_all(deferred_work& cleanup) noexcept;

 private:
  base::mutex lock_;
  std::array<carried_right, 7> rights_{};
};

}  // namespace kedge::mach::kernel
