// The special ports of a task (Darwin: task_get_special_port, mach_ports_register, ipc_task_init).
#include "kedge/mach/kernel/core/special_ports.h"

#include <mach/message.h>

#include <mutex>
#include <utility>

#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {
namespace {

carried_right copy_of(const carried_right& stored) noexcept {
  port* const target = stored.target;
  if (!target) return stored;
  const std::lock_guard hold(target->lock);
  if (!target->active) return {nullptr, MACH_MSG_TYPE_MOVE_SEND, true};
  copy_send_right(*target);
  return stored;
}

}  // namespace

carried_right special_ports::exchange(slot which, carried_right next) noexcept {
  const std::lock_guard hold(lock_);
  return std::exchange(rights_[static_cast<std::size_t>(which)], next);
}

carried_right special_ports::copy(slot which) noexcept {
  const std::lock_guard hold(lock_);
  return copy_of(rights_[static_cast<std::size_t>(which)]);
}

bool special_ports::set_once(slot which, carried_right next) noexcept {
  const std::lock_guard hold(lock_);
  carried_right& stored = rights_[static_cast<std::size_t>(which)];
  if (stored.target) return false;
  stored = next;
  return true;
}

void special_ports::inherit(special_ports& parent) noexcept {
  for (const slot each : {slot::registered_first, slot::registered_second, slot::registered_third,
                          slot::bootstrap, slot::access}) {
    rights_[static_cast<std::size_t>(each)] = parent.copy(each);
  }
}

void special_ports::release_all(deferred_work& cleanup) noexcept {
  for (std::size_t index = 0; index < rights_.size(); ++index) {
    carried_right gone = exchange(static_cast<slot>(index), {});
    release_right(gone, cleanup);
  }
}

}  // namespace kedge::mach::kernel
