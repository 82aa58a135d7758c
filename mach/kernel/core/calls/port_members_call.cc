// The calls on port sets and their members (Darwin: mach_port_move_member and its like).
#include <algorithm>
#include <mutex>
#include <vector>

#include "kedge/mach/kernel/core/calls/port_call.h"
#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {

// Looks both names up before either right (Darwin: ipc_object_translate_two). Darwin takes a name
// that once was a receive right for a forgivable error, and raises no guard exception for it.
// Requires the space lock.
kern_return_t port_call::find_member_and_set(mach_port_name_t member_name,
                                             mach_port_name_t set_name, port*& member,
                                             ipc_port_set*& set) noexcept {
  const entry* const first = space_.find(member_name);
  const entry* const second = space_.find(set_name);
  if (!first || !second) return refuse(first ? set_name : member_name, KERN_INVALID_NAME);
  if ((first->type & MACH_PORT_TYPE_RECEIVE) == 0) {
    return first->had_receive ? KERN_INVALID_RIGHT : refuse(member_name, KERN_INVALID_RIGHT);
  }
  if (second->type != MACH_PORT_TYPE_PORT_SET) {
    return second->had_receive ? KERN_INVALID_RIGHT : refuse(set_name, KERN_INVALID_RIGHT);
  }
  member = &port_of(*first);
  set = static_cast<ipc_port_set*>(second->target);
  return KERN_SUCCESS;
}

// The calls that add a member look for the set first, and raise no guard exception for it. Requires
// the space lock.
kern_return_t port_call::find_member_and_set_to_join(mach_port_name_t member_name,
                                                     mach_port_name_t set_name, port*& member,
                                                     ipc_port_set*& set) noexcept {
  const entry* const found = space_.find(set_name);
  if (!found) return KERN_INVALID_NAME;
  if (found->type != MACH_PORT_TYPE_PORT_SET) return KERN_INVALID_RIGHT;
  return find_member_and_set(member_name, set_name, member, set);
}

kern_return_t port_call::move_member(const requests::move_member& request) {
  if (is_null_or_dead(request.member) || request.set == MACH_PORT_DEAD) return KERN_INVALID_RIGHT;
  const std::lock_guard hold(space_.lock);
  if (request.set == MACH_PORT_NULL) return leave_sets(request.member);
  port* member = nullptr;
  ipc_port_set* set = nullptr;
  const kern_return_t failed =
      find_member_and_set_to_join(request.member, request.set, member, set);
  if (failed != KERN_SUCCESS) return failed;
  {
    const std::lock_guard hold_member(member->lock);
    leave_all_sets(*member);
  }
  require_memory();
  return join_set(*member, *set, cleanup_);
}

// Requires the space lock.
kern_return_t port_call::leave_sets(mach_port_name_t name) {
  const entry* const found = space_.find(name);
  if (!found) return KERN_INVALID_NAME;
  if ((found->type & MACH_PORT_TYPE_RECEIVE) == 0) return KERN_INVALID_RIGHT;
  port& member = port_of(*found);
  const std::lock_guard hold(member.lock);
  const bool has_left = leave_all_sets(member);
  return has_left || !cleanup_.owner.os_profile().wants_a_set_to_leave() ? KERN_SUCCESS
                                                                         : KERN_NOT_IN_SET;
}

kern_return_t port_call::insert_member(const requests::insert_member& request) {
  if (is_null_or_dead(request.member) || is_null_or_dead(request.set)) return KERN_INVALID_RIGHT;
  const std::lock_guard hold(space_.lock);
  port* member = nullptr;
  ipc_port_set* set = nullptr;
  const kern_return_t failed =
      find_member_and_set_to_join(request.member, request.set, member, set);
  if (failed != KERN_SUCCESS) return failed;
  require_memory();
  return join_set(*member, *set, cleanup_);
}

kern_return_t port_call::extract_member(const requests::extract_member& request) {
  if (is_null_or_dead(request.member) || is_null_or_dead(request.set)) return KERN_INVALID_RIGHT;
  const std::lock_guard hold(space_.lock);
  port* member = nullptr;
  ipc_port_set* set = nullptr;
  const kern_return_t failed = find_member_and_set(request.member, request.set, member, set);
  if (failed != KERN_SUCCESS) return failed;
  return leave_set(*member, *set, cleanup_.owner.os_profile());
}

kern_return_t port_call::get_set_status(const requests::get_set_status& request,
                                        replies::get_set_status& reply) {
  if (is_null_or_dead(request.name)) return KERN_INVALID_RIGHT;
  const std::lock_guard hold(space_.lock);
  entry* const found = space_.find(request.name);
  if (!found) return KERN_INVALID_NAME;
  if (found->type != MACH_PORT_TYPE_PORT_SET) return KERN_INVALID_RIGHT;
  ipc_port_set& set = static_cast<ipc_port_set&>(*found->target);
  std::vector<mach_port_name_t> members;
  {
    // The names of members are stable: their receive rights are in this space, which is locked.
    const std::lock_guard hold_set(set.lock);
    using set_members = base::list<membership, &membership::in_set>;
    for (membership* each = set.members.front(); each; each = set_members::after(*each)) {
      members.push_back(each->member->receiver_name);
    }
  }
  std::sort(members.begin(), members.end());
  reply.count = static_cast<std::uint32_t>(members.size());
  if (members.empty() || members.size() > request.members.size) return KERN_SUCCESS;
  return memory_.out(members.data(), request.members.at, members.size() * sizeof members.front())
             ? KERN_SUCCESS
             : KERN_INVALID_ADDRESS;
}

}  // namespace kedge::mach::kernel
