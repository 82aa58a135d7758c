// Services by name (Darwin: launchd's bootstrap subset, bootstrap_check_in and the like).
#include "kedge/mach/kernel/core/name_server.h"

#include <mach/message.h>
#include <servers/bootstrap.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "kedge/mach/kernel/core/copy_out.h"

namespace kedge::mach::kernel {
namespace {

std::string_view shortened(std::string_view name) noexcept {
  return name.substr(0, name_server::max_length);
}

bool is_dead(port& target) noexcept {
  const std::lock_guard hold(target.lock);
  return !target.active;
}

}  // namespace

void name_server::remove(services::iterator gone, deferred_work& cleanup) noexcept {
  service& ended = gone->second;
  carried_right send{ended.target.get(), MACH_MSG_TYPE_MOVE_SEND, false};
  ended.target->retain();
  release_right(send, cleanup);
  if (ended.waiting) {
    ended.target->retain();
    destroy_port(ended.target.get(), cleanup);
  }
  services_.erase(gone);
}

name_server::service* name_server::find(std::string_view name, deferred_work& cleanup) noexcept {
  const auto found = services_.find(shortened(name));
  if (found == services_.end()) return nullptr;
  if (!is_dead(*found->second.target)) return &found->second;
  remove(found, cleanup);
  return nullptr;
}

// Removes services whose ports have died, when there are twice as many services as the last sweep
// left.
void name_server::sweep(deferred_work& cleanup) noexcept {
  if (services_.size() < swept_) return;
  for (auto each = services_.begin(); each != services_.end();) {
    const auto next = std::next(each);
    if (is_dead(*each->second.target)) remove(each, cleanup);
    each = next;
  }
  swept_ = std::max<std::size_t>(16, services_.size() * 2);
}

name_server::service& name_server::make(ipc_task& owner, std::string_view name) {
  if (owner.names.faults.happens(fault_point::port_memory)) throw std::bad_alloc();
  auto fresh = ref<port>::adopt(new port);
  fresh->service = fresh->immovable = true;
  service& made = services_[std::string(shortened(name))];
  // The receive right moves to its server with a make-send count of 0.
  fresh->send_rights = 1;
  made = {std::move(fresh), owner.id, true};
  return made;
}

kern_return_t name_server::hand_out(ipc_task& caller, service& from,
                                    mach_port_name_t& send) noexcept {
  port& target = *from.target;
  {
    const std::lock_guard hold(target.lock);
    copy_send_right(target);
  }
  carried_right right{&target, MACH_MSG_TYPE_MOVE_SEND, false};
  const std::lock_guard hold(caller.names.lock);
  const kern_return_t result = copy_out(caller.names, right, send);
  if (result != KERN_SUCCESS) {
    // The service keeps its own send right, so this one can be released without a notification.
    const std::lock_guard hold_port(target.lock);
    --target.send_rights;
    target.release();
  }
  return result;
}

kern_return_t name_server::check_in(ipc_task& caller, std::string_view name,
                                    mach_port_name_t& receive, deferred_work& cleanup) {
  const std::lock_guard hold(lock_);
  sweep(cleanup);
  service* found = find(name, cleanup);
  if (found && found->owner != caller.id) return BOOTSTRAP_NOT_PRIVILEGED;
  if (found && !found->waiting) return BOOTSTRAP_SERVICE_ACTIVE;
  const bool fresh = found == nullptr;
  if (fresh) found = &make(caller, name);
  carried_right right{found->target.get(), MACH_MSG_TYPE_MOVE_RECEIVE, false};
  found->target->retain();
  const kern_return_t result = [&] {
    const std::lock_guard hold_space(caller.names.lock);
    return copy_out(caller.names, right, receive);
  }();
  if (result == KERN_SUCCESS) {
    found->waiting = false;
  } else {
    found->target->release();
    if (fresh) remove(services_.find(shortened(name)), cleanup);
  }
  return result;
}

kern_return_t name_server::look_up(ipc_task& caller, std::string_view name, mach_port_name_t& send,
                                   deferred_work& cleanup) {
  const std::lock_guard hold(lock_);
  service* const found = find(name, cleanup);
  return found ? hand_out(caller, *found, send) : BOOTSTRAP_UNKNOWN_SERVICE;
}

kern_return_t name_server::create(ipc_task& caller, std::string_view name, mach_port_name_t& send,
                                  deferred_work& cleanup) {
  const std::lock_guard hold(lock_);
  sweep(cleanup);
  service* found = find(name, cleanup);
  if (found && found->owner != caller.id) return BOOTSTRAP_NOT_PRIVILEGED;
  if (found && !found->waiting) return BOOTSTRAP_SERVICE_ACTIVE;
  if (found) return hand_out(caller, *found, send);
  const kern_return_t result = hand_out(caller, make(caller, name), send);
  if (result != KERN_SUCCESS) remove(services_.find(shortened(name)), cleanup);
  return result;
}

kern_return_t name_server::enter(ipc_task& caller, std::string_view name, carried_right send,
                                 deferred_work& cleanup) {
  kern_return_t result = KERN_SUCCESS;
  {
    const std::lock_guard hold(lock_);
    sweep(cleanup);
    const service* const found = find(name, cleanup);
    if (caller.terminated()) {
      result = KERN_TERMINATED;  // task_ended() has removed its names, or will
    } else if (found && (found->owner != caller.id || (found->waiting && send.target))) {
      result = BOOTSTRAP_NOT_PRIVILEGED;
    } else if (found && !found->waiting) {
      result = BOOTSTRAP_SERVICE_ACTIVE;
    } else if (found) {
      remove(services_.find(shortened(name)), cleanup);
    } else if (send.target && !is_dead(*send.target)) {
      service& made = services_[std::string(shortened(name))];
      made = {ref<port>::adopt(std::exchange(send.target, nullptr)), caller.id, false};
    }
  }
  release_right(send, cleanup);
  return result;
}

kern_return_t name_server::status(std::string_view name, int& state, deferred_work& cleanup) {
  const std::lock_guard hold(lock_);
  const service* const found = find(name, cleanup);
  if (!found) return BOOTSTRAP_UNKNOWN_SERVICE;
  state = found->waiting ? BOOTSTRAP_STATUS_ON_DEMAND : BOOTSTRAP_STATUS_ACTIVE;
  return KERN_SUCCESS;
}

bool name_server::find_name(const port& target, char* name) noexcept {
  const std::lock_guard hold(lock_);
  for (const auto& [each, at] : services_) {
    if (at.target.get() != &target) continue;
    std::memcpy(name, each.c_str(), each.size() + 1);
    return true;
  }
  return false;
}

void name_server::task_ended(std::uint64_t id, deferred_work& cleanup) noexcept {
  const std::lock_guard hold(lock_);
  for (auto each = services_.begin(); each != services_.end();) {
    const auto next = std::next(each);
    if (each->second.owner == id) remove(each, cleanup);
    each = next;
  }
}

void name_server::end(deferred_work& cleanup) noexcept {
  const std::lock_guard hold(lock_);
  while (!services_.empty()) remove(services_.begin(), cleanup);
}

}  // namespace kedge::mach::kernel
