#include "kedge/mach/kernel/core/port.h"

#include <algorithm>
#include <iterator>
#include <mutex>
#include <utility>
#include <vector>

#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/notification.h"
#include "kedge/mach/kernel/core/port_set.h"

namespace kedge::mach::kernel {
namespace {

// Offers a message to those who wait in `queue`. One for whom it is too large learns that, and the
// next is asked; without MACH_RCV_LARGE it gets the message all the same, to destroy it. True:
// somebody has it.
bool hand_over(waiters& queue, port& from, kmsg* message, deferred_work& after) noexcept {
  while (pending_call* receiver = queue.pop_front()) {
    const mach_msg_size_t needed = message->size + REQUESTED_TRAILER_SIZE(receiver->option);
    if (needed > receiver->receive_size && (receiver->option & MACH_RCV_LARGE)) {
      receiver->needed_size = message->size;
      receiver->identity = from.receiver_name;
      complete(*receiver, MACH_RCV_TOO_LARGE, after);
      continue;
    }
    stamp(*message, from);
    receiver->message = message;
    complete(*receiver, MACH_MSG_SUCCESS, after);
    return true;
  }
  return false;
}

void tell(watchers& watches, watch_event event) noexcept {
  for (watch* each = watches.front(); each;) {
    watch* next = watchers::after(*each);
    if (event == watch_event::gone) watches.remove(*each);
    each->changed(event);
    each = next;
  }
}

void fail_all(waiters& queue, mach_msg_return_t outcome, deferred_work& after) noexcept {
  while (pending_call* each = queue.pop_front()) complete(*each, outcome, after);
}

using member_sets = base::list<membership, &membership::in_port>;

// Of a destroyed set. The port is locked.
bool is_stale(const membership& each) noexcept {
  return each.set == nullptr;
}

void forget(membership& stale) noexcept {
  stale.member->sets.remove(stale);
  delete &stale;
}

// A destroyed set is forgotten if it is the only one.
void forget_only_stale(port& of) noexcept {
  membership* const only = of.sets.front();
  if (only && only == of.sets.back() && is_stale(*only)) forget(*only);
}

}  // namespace

void leave_ready(port& empty) noexcept {
  for (membership* each = empty.sets.front(); each; each = member_sets::after(*each)) {
    if (is_stale(*each)) continue;
    each->set->lock.lock();
    if (each->ready.is_linked()) each->set->ready.remove(*each);
    each->set->lock.unlock();
  }
}

void post_to_waiters(port& to, kmsg* message, deferred_work& after) noexcept {
  if (hand_over(to.receivers, to, message, after)) {
    to.queue().abort(*message);
    return;
  }
  forget_only_stale(to);
  if (to.queue().peek()) return to.queue().commit(message);
  for (membership* each = to.sets.front(); each; each = member_sets::after(*each)) {
    if (is_stale(*each)) continue;
    port_set& set = *each->set;
    set.lock.lock();
    const bool taken = hand_over(set.receivers, to, message, after);
    if (!taken) {
      // Under the lock that found no receiver: one that comes later finds the port, and waits for
      // its lock.
      set.ready.push_back(*each);
      tell(set.watches, watch_event::message);
    }
    set.lock.unlock();
    if (taken) {
      leave_ready(to);
      return to.queue().abort(*message);
    }
  }
  to.queue().commit(message);
  if (!to.watches.empty()) tell(to.watches, watch_event::message);
}

void admit_senders(port& to, deferred_work& after) noexcept {
  while (!to.senders.empty() && !to.full()) {
    pending_call& sender = *to.senders.front();
    kmsg* message = sender.message;
    if (!to.queue().reserve(*message)) return;
    to.senders.remove(sender);
    sender.message = nullptr;
    post(to, message, after);
    complete(sender, MACH_MSG_SUCCESS, after);
  }
}

void clear_receiver(port& moving, bool to_be_destroyed, deferred_work& after) noexcept {
  moving.receiver = nullptr;
  moving.receiver_name = MACH_PORT_NULL;
  moving.make_send_count = 0;
  moving.sequence = 0;
  moving.context = 0;
  moving.guarded = moving.strict_guard = moving.immovable = false;
  moving.temporary_owner = false;
  leave_all_sets(moving);
  fail_all(moving.receivers, to_be_destroyed ? MACH_RCV_PORT_DIED : MACH_RCV_PORT_CHANGED, after);
  tell(moving.watches, watch_event::gone);
}

void destroy_port(port* dying, deferred_work& after) noexcept {
  dying->lock.lock();
  if (port* notify = std::exchange(dying->port_destroyed, nullptr)) {
    dying->lock.unlock();
    after.kernel.transit().unbind(*dying);
    notify_port_destroyed(notify, dying, after);
    return;
  }
  dying->active = false;
  while (kmsg* message = dying->queue().take()) after.destroy_later(message);
  // A blocked sender's message is destroyed by the sender, to whom the send was a success.
  fail_all(dying->senders, MACH_MSG_SUCCESS, after);
  port* no_senders = std::exchange(dying->no_senders, nullptr);
  dying->lock.unlock();

  after.kernel.transit().unbind(*dying);
  const bool messages_first = after.kernel.profile().destroys_messages_first();
  if (no_senders && !messages_first) release_send_once_right(no_senders, after);
  after.reap();
  if (no_senders && messages_first) release_send_once_right(no_senders, after);
  // The table of a dead port does not change any more: names look there for whether they were told.
  for (std::uint32_t index = 1; index < dying->requests.size(); ++index) {
    const name_request& each = dying->requests[index];
    if (each.notify) notify_dead_name(each.notify, each.name, after);
  }
  dying->release();
}

void release_send_right(port* target, deferred_work& after) noexcept {
  target->lock.lock();
  port* notify = nullptr;
  const mach_port_mscount_t count = target->make_send_count;
  if (--target->send_rights == 0) notify = std::exchange(target->no_senders, nullptr);
  target->lock.unlock();
  if (notify) notify_no_senders(notify, count, after);
  target->release();
}

void release_send_once_right(port* target, deferred_work& after) noexcept {
  target->lock.lock();
  const bool alive = target->active;
  if (!alive) --target->send_once_rights;
  target->lock.unlock();
  if (alive) {
    notify_send_once(target, after);
  } else {
    target->release();
  }
}

void consume_send_once_right(port* target) noexcept {
  target->lock.lock();
  --target->send_once_rights;
  target->lock.unlock();
  target->release();
}

void release_right(carried_right& right, deferred_work& after) noexcept {
  port* target = std::exchange(right.target, nullptr);
  if (!target) return;
  switch (right.disposition) {
    case MACH_MSG_TYPE_MOVE_SEND:
      release_send_right(target, after);
      break;
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
      release_send_once_right(target, after);
      break;
    default:
      destroy_port(target, after);
      break;
  }
}

port* make_send_right(port& target) noexcept {
  ++target.make_send_count;
  ++target.send_rights;
  target.retain();
  return &target;
}

port* make_send_once_right(port& target) noexcept {
  ++target.send_once_rights;
  target.retain();
  return &target;
}

kern_return_t insert_member(port& member, port_set& set, deferred_work& after) {
  auto added = std::make_unique<membership>();
  member.lock.lock();
  for (membership* each = member.sets.front(); each; each = member_sets::after(*each)) {
    if (each->set == &set) {
      member.lock.unlock();
      return KERN_ALREADY_IN_SET;
    }
  }
  set.lock.lock();
  added->member = &member;
  added->set = &set;
  forget_only_stale(member);
  member.sets.push_back(*added);
  set.members.push_back(*added);
  membership* made = added.release();
  if (member.queue().peek()) {
    set.ready.push_back(*made);
    tell(set.watches, watch_event::message);
  }
  // Receivers that wait at the set get what the port has brought.
  while (!set.receivers.empty() && member.queue().peek()) {
    kmsg* message = member.queue().peek();
    if (!hand_over(set.receivers, member, message, after)) break;
    member.queue().take();
    if (!member.queue().peek() && made->ready.is_linked()) set.ready.remove(*made);
  }
  set.lock.unlock();
  if (!member.senders.empty()) admit_senders(member, after);
  member.lock.unlock();
  return KERN_SUCCESS;
}

namespace {

// Both are locked.
void unlink(membership& gone) noexcept {
  gone.member->sets.remove(gone);
  gone.set->members.remove(gone);
  if (gone.ready.is_linked()) gone.set->ready.remove(gone);
  delete &gone;
}

// Takes the port out of the set as macOS 11 does, where its sets are a chain of links, the newest
// first: what goes from the head of the chain is not told of, and nobody looks beyond destroyed
// sets that were met and forgotten (Darwin: waitq_unlink_cb, waitq_maybe_remove_link). True: it is
// told of. The port is locked.
bool extract_from_chain(port& of, const port_set& set) {
  std::vector<membership*> chain;
  for (membership* each = of.sets.front(); each; each = member_sets::after(*each)) {
    chain.insert(chain.begin(), each);
  }
  const auto is_met = [&](std::size_t at) {
    return is_stale(*chain[at]) || chain[at]->set == &set;
  };
  const auto drop = [&](std::size_t at) {
    membership& gone = *chain[at];
    chain.erase(chain.begin() + static_cast<std::ptrdiff_t>(at));
    if (is_stale(gone)) {
      forget(gone);
      return false;
    }
    const std::lock_guard hold(gone.set->lock);
    unlink(gone);
    return true;
  };
  if (chain.size() < 2) return !chain.empty() && chain[0]->set == &set && drop(0);
  bool changed = false;
  for (std::size_t link = 0;;) {  // which has one set, and the next link or the oldest set
    const std::size_t left = chain.size() - link;
    if (link == 0 && is_met(0)) {
      if (left == 2 && is_stale(*chain[1])) drop(1);
      drop(0);
      return false;
    }
    if (link == 0 && left == 2 && is_met(1)) {
      drop(1);
      return false;
    }
    if (left < 3) return false;
    const std::size_t next = link + 1;
    const bool is_last = left == 3;
    if (is_last && is_stale(*chain[next]) && is_stale(*chain[next + 1])) {
      drop(next + 1);
      if (link == 0) drop(next);
      return false;
    }
    if (is_met(next) || (is_last && is_met(next + 1))) {
      if (drop(is_met(next) ? next : next + 1)) return true;
      changed = true;
    } else if (changed) {
      return false;
    } else {
      ++link;
    }
  }
}

}  // namespace

kern_return_t extract_member(port& member, port_set& set, profile answers) {
  const std::lock_guard hold(member.lock);
  if (answers.loses_extracted_members()) {
    return extract_from_chain(member, set) ? KERN_SUCCESS : KERN_NOT_IN_SET;
  }
  for (membership* each = member.sets.front(); each; each = member_sets::after(*each)) {
    if (each->set != &set) continue;
    const std::lock_guard hold_set(set.lock);
    unlink(*each);
    return KERN_SUCCESS;
  }
  return KERN_NOT_IN_SET;
}

bool leave_all_sets(port& member) noexcept {
  const bool left = !member.sets.empty();
  while (membership* each = member.sets.front()) {
    if (is_stale(*each)) {
      forget(*each);
      continue;
    }
    port_set& set = *each->set;
    set.lock.lock();
    unlink(*each);
    set.lock.unlock();
  }
  return left;
}

namespace {

// The set is destroyed: the port keeps the membership, but not too many such.
void make_stale(port& member, port_set& set) noexcept {
  constexpr int most = 16;
  const std::lock_guard hold(member.lock);
  membership* oldest = nullptr;
  int stale = 0;
  for (membership* each = member.sets.front(); each; each = member_sets::after(*each)) {
    if (each->set == &set) {
      const std::lock_guard hold_set(set.lock);
      set.members.remove(*each);
      if (each->ready.is_linked()) set.ready.remove(*each);
      each->set = nullptr;
    }
    if (!is_stale(*each)) continue;
    if (!oldest) oldest = each;
    ++stale;
  }
  if (stale > most) forget(*oldest);
}

}  // namespace

void destroy_port_set(ref<port_set> set, deferred_work& after) noexcept {
  set->lock.lock();
  set->active = false;
  fail_all(set->receivers, MACH_RCV_PORT_DIED, after);
  tell(set->watches, watch_event::gone);
  while (membership* each = set->members.front()) {
    ref<port> member(each->member);
    set->lock.unlock();
    make_stale(*member, *set);
    set->lock.lock();
  }
  set->lock.unlock();
}

}  // namespace kedge::mach::kernel
