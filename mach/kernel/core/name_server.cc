#include "kedge/mach/kernel/core/name_server.h"

#include <mach/message.h>
#include <servers/bootstrap.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {
namespace {

std::string_view shortened(std::string_view name) noexcept {
  return name.substr(0, name_server::max_length);
}

bool is_dead(port& at) noexcept {
  const std::lock_guard hold(at.lock);
  return !at.active;
}

}  // namespace

// The lock is held by each of these. Releasing a send right can only end in notifications, and a
// waiting port's end only in those and in messages destroyed: neither comes back here.
void name_server::remove(services::iterator gone, deferred_work& after) noexcept {
  service& ended = gone->second;
  carried_right send{ended.at.get(), MACH_MSG_TYPE_MOVE_SEND, false};
  ended.at->retain();
  release_right(send, after);
  if (ended.waiting) {
    ended.at->retain();
    destroy_port(ended.at.get(), after);
  }
  services_.erase(gone);
}

name_server::service* name_server::find(std::string_view name, deferred_work& after) noexcept {
  const auto found = services_.find(shortened(name));
  if (found == services_.end()) return nullptr;
  if (!is_dead(*found->second.at)) return &found->second;
  remove(found, after);
  return nullptr;
}

// Names whose ports have died are looked for when there are twice as many as were left last time.
void name_server::sweep(deferred_work& after) noexcept {
  if (services_.size() < swept_) return;
  for (auto each = services_.begin(); each != services_.end();) {
    const auto next = std::next(each);
    if (is_dead(*each->second.at)) remove(each, after);
    each = next;
  }
  swept_ = std::max<std::size_t>(16, services_.size() * 2);
}

name_server::service& name_server::make(ipc_task& owner, std::string_view name) {
  auto fresh = ref<port>::adopt(new port);
  fresh->service = fresh->immovable = true;
  service& made = services_[std::string(shortened(name))];
  // The right moves to its server with a make-send count of 0.
  fresh->send_rights = 1;
  made = {std::move(fresh), owner.id, true};
  return made;
}

kern_return_t name_server::hand_out(ipc_task& caller, service& from,
                                    mach_port_name_t& send) noexcept {
  port& at = *from.at;
  at.lock.lock();
  carried_right right{&at, MACH_MSG_TYPE_MOVE_SEND, false};
  ++at.send_rights;
  at.retain();
  at.lock.unlock();
  const std::lock_guard hold(caller.space.lock);
  const kern_return_t result = copy_out(caller.space, right, send);
  if (result != KERN_SUCCESS) {
    // The service's own right remains: nothing can follow from this.
    const std::lock_guard hold_port(at.lock);
    --at.send_rights;
    at.release();
  }
  return result;
}

kern_return_t name_server::check_in(ipc_task& caller, std::string_view name,
                                    mach_port_name_t& receive, deferred_work& after) {
  const std::lock_guard hold(lock_);
  sweep(after);
  service* found = find(name, after);
  if (found && found->owner != caller.id) return BOOTSTRAP_NOT_PRIVILEGED;
  if (found && !found->waiting) return BOOTSTRAP_SERVICE_ACTIVE;
  const bool fresh = found == nullptr;
  if (fresh) found = &make(caller, name);
  carried_right right{found->at.get(), MACH_MSG_TYPE_MOVE_RECEIVE, false};
  found->at->retain();
  caller.space.lock.lock();
  const kern_return_t result = copy_out(caller.space, right, receive);
  caller.space.lock.unlock();
  if (result == KERN_SUCCESS) {
    found->waiting = false;
  } else {
    found->at->release();
    if (fresh) remove(services_.find(shortened(name)), after);
  }
  return result;
}

kern_return_t name_server::look_up(ipc_task& caller, std::string_view name, mach_port_name_t& send,
                                   deferred_work& after) {
  const std::lock_guard hold(lock_);
  service* const found = find(name, after);
  return found ? hand_out(caller, *found, send) : BOOTSTRAP_UNKNOWN_SERVICE;
}

kern_return_t name_server::create(ipc_task& caller, std::string_view name, mach_port_name_t& send,
                                  deferred_work& after) {
  const std::lock_guard hold(lock_);
  sweep(after);
  service* found = find(name, after);
  if (found && found->owner != caller.id) return BOOTSTRAP_NOT_PRIVILEGED;
  if (found && !found->waiting) return BOOTSTRAP_SERVICE_ACTIVE;
  if (found) return hand_out(caller, *found, send);
  const kern_return_t result = hand_out(caller, make(caller, name), send);
  if (result != KERN_SUCCESS) remove(services_.find(shortened(name)), after);
  return result;
}

kern_return_t name_server::enter(ipc_task& caller, std::string_view name, carried_right send,
                                 deferred_work& after) {
  kern_return_t result = KERN_SUCCESS;
  {
    const std::lock_guard hold(lock_);
    sweep(after);
    const service* const found = find(name, after);
    if (caller.terminated()) {
      result = KERN_TERMINATED;  // its names have gone already, or will
    } else if (found && (found->owner != caller.id || (found->waiting && send.target))) {
      result = BOOTSTRAP_NOT_PRIVILEGED;
    } else if (found && !found->waiting) {
      result = BOOTSTRAP_SERVICE_ACTIVE;
    } else if (found) {
      remove(services_.find(shortened(name)), after);
    } else if (send.target && !is_dead(*send.target)) {
      service& made = services_[std::string(shortened(name))];
      made = {ref<port>::adopt(std::exchange(send.target, nullptr)), caller.id, false};
    }
  }
  release_right(send, after);
  return result;
}

kern_return_t name_server::status(std::string_view name, int& is, deferred_work& after) {
  const std::lock_guard hold(lock_);
  const service* const found = find(name, after);
  if (!found) return BOOTSTRAP_UNKNOWN_SERVICE;
  is = found->waiting ? BOOTSTRAP_STATUS_ON_DEMAND : BOOTSTRAP_STATUS_ACTIVE;
  return KERN_SUCCESS;
}

void name_server::task_ended(std::uint64_t id, deferred_work& after) noexcept {
  const std::lock_guard hold(lock_);
  for (auto each = services_.begin(); each != services_.end();) {
    const auto next = std::next(each);
    if (each->second.owner == id) remove(each, after);
    each = next;
  }
}

void name_server::end(deferred_work& after) noexcept {
  const std::lock_guard hold(lock_);
  while (!services_.empty()) remove(services_.begin(), after);
}

}  // namespace kedge::mach::kernel
