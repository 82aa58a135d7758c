// Send rights that the kernel keeps for a task, outside its space: its special ports, and those
// that it has registered for its children (Darwin: itk_bootstrap and its kind, itk_registered).
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

  // Puts a send right, null or dead there; returns what was there.
  carried_right exchange(slot at, carried_right next) noexcept;
  // Another send right to what is there; null, or dead.
  carried_right copy(slot at) noexcept;
  bool empty(slot at) noexcept;
  // A new task has those of its parent that are inherited.
  void inherit(special_ports& parent) noexcept;
  void release_all(deferred_work& after) noexcept;

 private:
  base::mutex lock_;
  std::array<carried_right, 7> rights_{};
};

}  // namespace kedge::mach::kernel
