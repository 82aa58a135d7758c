// Members of port sets (Darwin: ipc_pset_add, ipc_pset_remove, ipc_pset_destroy).
#include "kedge/mach/kernel/core/ipc_port_set.h"

#include <memory>
#include <mutex>

#include "kedge/mach/kernel/core/macos11_set_chain.h"

namespace kedge::mach::kernel {
namespace {

membership* find_membership(const port& member, const ipc_port_set& set) noexcept {
  membership* each = member.sets.front();
  while (each && each->set != &set) each = member_sets::after(*each);
  return each;
}

// Gives the messages of a new member to receivers that wait at the set. Requires both locks.
void serve_receivers(membership& link, deferred_work& cleanup) noexcept {
  port& member = *link.member;
  ipc_port_set& set = *link.set;
  while (!set.receivers.empty() && member.queue().peek()) {
    if (!hand_over(set.receivers, member, member.queue().peek(), cleanup)) return;
    member.queue().take();
  }
}

}  // namespace

kern_return_t join_set(port& member, ipc_port_set& set, deferred_work& cleanup) {
  auto made = std::make_unique<membership>();
  made->member = &member;
  made->set = &set;
  const std::lock_guard hold(member.lock);
  if (find_membership(member, set)) return KERN_ALREADY_IN_SET;
  {
    const std::lock_guard hold_set(set.lock);
    forget_only_stale(member);
    membership& link = *made.release();
    member.sets.push_back(link);
    set.members.push_back(link);
    if (member.queue().peek()) {
      set.ready.push_back(link);
      notify_watchers(set.watches, watch_event::message);
    }
    serve_receivers(link, cleanup);
  }
  // In other sets too the port was a ready member.
  if (!member.queue().peek()) leave_ready(member);
  if (!member.senders.empty()) admit_senders(member, cleanup);
  return KERN_SUCCESS;
}

kern_return_t leave_set(port& member, ipc_port_set& set, profile answers) {
  const std::lock_guard hold(member.lock);
  if (answers.loses_extracted_members()) {
    return extract_from_chain(member, set) ? KERN_SUCCESS : KERN_NOT_IN_SET;
  }
  membership* const link = find_membership(member, set);
  if (!link) return KERN_NOT_IN_SET;
  const std::lock_guard hold_set(set.lock);
  unlink(*link);
  return KERN_SUCCESS;
}

bool leave_all_sets(port& member) noexcept {
  const bool was_in_any = !member.sets.empty();
  while (membership* each = member.sets.front()) {
    if (is_stale(*each)) {
      forget(*each);
      continue;
    }
    const std::lock_guard hold(each->set->lock);
    unlink(*each);
  }
  return was_in_any;
}

void unlink(membership& gone) noexcept {
  gone.member->sets.remove(gone);
  gone.set->members.remove(gone);
  if (gone.ready.is_linked()) gone.set->ready.remove(gone);
  delete &gone;
}

void destroy_port_set(ipc_port_set& set, deferred_work& cleanup) noexcept {
  object_lock locked(set.lock);
  set.active = false;
  complete_all(set.receivers, MACH_RCV_PORT_DIED, cleanup);
  notify_watchers(set.watches, watch_event::gone);
  while (membership* each = set.members.front()) {
    const ref<port> member(each->member);
    const scoped_unlock gap(locked);
    make_stale(*member, set);
  }
}

}  // namespace kedge::mach::kernel
