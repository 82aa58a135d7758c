#include "kedge/mach/kernel/core/special_ports.h"

#include <mach/message.h>

#include <mutex>
#include <utility>

#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {
namespace {

carried_right another(const carried_right& of) noexcept {
  port* const target = of.target;
  if (!target) return of;
  const std::lock_guard hold(target->lock);
  if (!target->active) return {nullptr, MACH_MSG_TYPE_MOVE_SEND, true};
  ++target->send_rights;
  target->retain();
  return of;
}

}  // namespace

carried_right special_ports::exchange(slot at, carried_right next) noexcept {
  const std::lock_guard hold(lock_);
  return std::exchange(rights_[static_cast<std::size_t>(at)], next);
}

carried_right special_ports::copy(slot at) noexcept {
  const std::lock_guard hold(lock_);
  return another(rights_[static_cast<std::size_t>(at)]);
}

bool special_ports::empty(slot at) noexcept {
  const std::lock_guard hold(lock_);
  return !rights_[static_cast<std::size_t>(at)].target;
}

void special_ports::inherit(special_ports& parent) noexcept {
  for (const slot each : {slot::registered_first, slot::registered_second, slot::registered_third,
                          slot::bootstrap, slot::access}) {
    rights_[static_cast<std::size_t>(each)] = parent.copy(each);
  }
}

void special_ports::release_all(deferred_work& after) noexcept {
  for (std::size_t index = 0; index < rights_.size(); ++index) {
    carried_right gone = exchange(static_cast<slot>(index), {});
    release_right(gone, after);
  }
}

}  // namespace kedge::mach::kernel
