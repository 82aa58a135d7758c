#include "kedge/mach/kernel/core/calls/port_call.h"

#include <mach/mig_errors.h>

#include <algorithm>
#include <bit>
#include <mutex>
#include <new>
#include <utility>

#include "kedge/mach/kernel/core/calls/message_call.h"
#include "kedge/mach/kernel/core/calls/port_attributes.h"
#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/copy_out.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/notification.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/port_set.h"
#include "kedge/mach/kernel/core/right_release.h"

namespace kedge::mach::kernel {
namespace {

bool is_null_or_dead(mach_port_name_t name) noexcept {
  return !MACH_PORT_VALID(name);
}

// The calls of one request; `then` is settled once the space is unlocked.
class port_call {
 public:
  port_call(ipc_task& caller, ipc_task& target, const request& what, reply& answer, copyio& memory,
            deferred_work& after) noexcept
      : caller_(caller),
        space_(target.names),
        what_(what),
        answer_(answer),
        memory_(memory),
        after_(after) {}

  kern_return_t run() {
    kern_return_t result = KERN_RESOURCE_SHORTAGE;
    try {
      result = dispatch();
    } catch (const std::bad_alloc&) {
    }
    then_.flush(after_);
    return result;
  }

 private:
  mach_port_name_t name(std::size_t word = 0) const noexcept {
    return static_cast<mach_port_name_t>(what_.words[word]);
  }
  right_context rights_in(space& names) noexcept { return {names, then_, answer_.guard, after_}; }
  template <typename T>
  T argument(std::size_t word) const noexcept {
    return static_cast<T>(what_.words[word]);
  }

  kern_return_t dispatch();

  kern_return_t names();
  kern_return_t type();
  kern_return_t allocate();
  kern_return_t construct();
  kern_return_t check_kind(std::uint32_t flags);
  kern_return_t destruct();
  kern_return_t release(bool all);
  kern_return_t get_refs();
  kern_return_t mod_refs();
  kern_return_t insert_right();
  kern_return_t extract_right();
  kern_return_t change_members();
  kern_return_t get_set_status();
  kern_return_t request_notification();
  kern_return_t take_notify(mach_port_name_t notify, mach_msg_type_name_t type, port*& right);
  kern_return_t change_receive();
  kern_return_t new_name(object* fresh, mach_port_type_t type, entry*& made,
                         mach_port_name_t& name);
  kern_return_t change_guard(port& of);
  kern_return_t peek();
  // The guard exception that tells why a name was refused. Returns `result`.
  kern_return_t refused(mach_port_name_t name, kern_return_t result) noexcept;
  kern_return_t find_member_and_set(port*& member, port_set*& set) noexcept;

  ipc_task& caller_;
  space& space_;
  const request& what_;
  reply& answer_;
  copyio& memory_;
  deferred_work& after_;
  deferred_notifications then_;
};

kern_return_t port_call::dispatch() {
  switch (what_.call) {
    case call_number::names:
      return names();
    case call_number::type:
      return type();
    case call_number::reply_port:
    case call_number::allocate:
      return allocate();
    case call_number::construct:
      return construct();
    case call_number::destruct:
      return destruct();
    case call_number::destroy:
      return release(true);
    case call_number::deallocate:
      return release(false);
    case call_number::get_refs:
      return get_refs();
    case call_number::self:
    case call_number::mod_refs:
      return mod_refs();
    case call_number::insert_right:
      return insert_right();
    case call_number::extract_right:
      return extract_right();
    case call_number::move_member:
    case call_number::insert_member:
    case call_number::extract_member:
      return change_members();
    case call_number::get_set_status:
      return get_set_status();
    case call_number::request_notification:
      return request_notification();
    case call_number::get_attributes:
      return get_attributes(space_, name(), argument<mach_port_flavor_t>(1), what_.words[2],
                            argument<std::uint32_t>(3), answer_, memory_, after_.owner.profile());
    case call_number::set_attributes:
      return set_attributes(space_, name(), argument<mach_port_flavor_t>(1), what_.words[2],
                            argument<std::uint32_t>(3), memory_, after_);
    case call_number::peek:
      return peek();
    case call_number::rename:
      return after_.owner.profile().knows_rename() ? KERN_NOT_SUPPORTED : MIG_BAD_ID;
    case call_number::get_srights:
    case call_number::set_mscount:
    case call_number::set_seqno:
    case call_number::get_context:
    case call_number::set_context:
    case call_number::guard:
    case call_number::unguard:
    case call_number::swap_guard:
      return change_receive();
    default:
      return KERN_INVALID_ARGUMENT;
  }
}

kern_return_t port_call::names() {
  const std::lock_guard hold(space_.lock);
  std::uint32_t count = 0;
  space_.each([&](mach_port_name_t, const entry&) { ++count; });
  answer_.words[0] = count;
  if (count > what_.words[2]) return KERN_SUCCESS;
  std::uint64_t index = 0;
  bool readable = true;
  space_.each([&](mach_port_name_t each, const entry& found) {
    const mach_port_type_t is = type_of(found);
    readable = readable && memory_.out(&each, what_.words[0] + index * sizeof each, sizeof each) &&
               memory_.out(&is, what_.words[1] + index * sizeof is, sizeof is);
    ++index;
  });
  return readable ? KERN_SUCCESS : KERN_INVALID_ADDRESS;
}

kern_return_t port_call::type() {
  if (name() == MACH_PORT_NULL) return KERN_INVALID_NAME;
  if (name() == MACH_PORT_DEAD) {
    answer_.words[0] = MACH_PORT_TYPE_DEAD_NAME;
    return KERN_SUCCESS;
  }
  const std::lock_guard hold(space_.lock);
  entry* found = space_.find(name());
  if (!found) return KERN_INVALID_NAME;
  convert_if_dead(space_, name(), *found);
  constexpr mach_port_type_t hidden = MACH_PORT_TYPE_SPREQUEST | MACH_PORT_TYPE_SPREQUEST_DELAYED;
  answer_.words[0] = type_of(*found) & ~hidden;
  return KERN_SUCCESS;
}

// The space is locked. The entry takes over the reference of `fresh`.
kern_return_t port_call::new_name(object* fresh, mach_port_type_t is, entry*& made,
                                  mach_port_name_t& as) {
  as = space_.active ? space_.make(made) : MACH_PORT_NULL;
  if (as == MACH_PORT_NULL) {
    if (fresh) fresh->release();
    return space_.active ? KERN_NO_SPACE : KERN_INVALID_TASK;
  }
  made->target = fresh;
  made->type = is;
  made->urefs = is == MACH_PORT_TYPE_DEAD_NAME ? 1 : 0;
  answer_.words[0] = as;
  return KERN_SUCCESS;
}

kern_return_t port_call::allocate() {
  const mach_port_right_t right = what_.call == call_number::reply_port
                                      ? MACH_PORT_RIGHT_RECEIVE
                                      : argument<mach_port_right_t>(0);
  entry* made = nullptr;
  mach_port_name_t as = MACH_PORT_NULL;
  if (right == MACH_PORT_RIGHT_RECEIVE) {
    port* fresh = new port;
    const std::lock_guard hold(space_.lock);
    const kern_return_t result = new_name(fresh, MACH_PORT_TYPE_RECEIVE, made, as);
    if (result == KERN_SUCCESS) {
      fresh->receiver = &space_;
      fresh->receiver_name = as;
    }
    return result;
  }
  if (right == MACH_PORT_RIGHT_PORT_SET) {
    port_set* fresh = new port_set;
    const std::lock_guard hold(space_.lock);
    const kern_return_t result = new_name(fresh, MACH_PORT_TYPE_PORT_SET, made, as);
    if (result == KERN_SUCCESS) fresh->name = as;
    return result;
  }
  if (right != MACH_PORT_RIGHT_DEAD_NAME) return KERN_INVALID_VALUE;
  const std::lock_guard hold(space_.lock);
  return new_name(nullptr, MACH_PORT_TYPE_DEAD_NAME, made, as);
}

// Whether there can be a port of the kind that the flags ask for.
kern_return_t port_call::check_kind(std::uint32_t flags) {
  for (const std::uint32_t kinds :
       {std::uint32_t{MPO_SERVICE_PORT | MPO_CONNECTION_PORT | MPO_TG_BLOCK_TRACKING},
        std::uint32_t{MPO_REPLY_PORT | MPO_ENFORCE_REPLY_PORT_SEMANTICS | MPO_EXCEPTION_PORT |
                      MPO_PROVISIONAL_REPLY_PORT}}) {
    if (std::popcount(flags & kinds) > 1) return KERN_INVALID_ARGUMENT;
  }
  if (flags & MPO_SERVICE_PORT) return KERN_DENIED;  // only launchd makes them
  if ((flags & MPO_CONNECTION_PORT) == 0) return KERN_SUCCESS;
  const mach_port_name_t service = name(3);
  if (service == MACH_PORT_NULL) return KERN_INVALID_ARGUMENT;
  if (service == MACH_PORT_DEAD) return KERN_INVALID_NAME;
  const std::lock_guard hold(caller_.names.lock);
  entry* found = caller_.names.find(service);
  if (!found) return KERN_INVALID_NAME;
  if (convert_if_dead(caller_.names, service, *found) || (found->type & MACH_PORT_TYPE_SEND) == 0) {
    return KERN_INVALID_RIGHT;
  }
  return static_cast<const port&>(*found->target).service ? KERN_SUCCESS : KERN_INVALID_CAPABILITY;
}

kern_return_t port_call::construct() {
  auto flags = argument<std::uint32_t>(0);
  const auto limit = argument<std::uint32_t>(1);
  if (after_.owner.profile().knows_kinds_of_ports()) {
    const kern_return_t refused = check_kind(flags);
    if (refused != KERN_SUCCESS) return refused;
  } else {
    flags &= MPO_TG_BLOCK_TRACKING * 2 - 1;
  }
  if (flags & MPO_TG_BLOCK_TRACKING) return KERN_DENIED;
  if ((flags & MPO_QLIMIT) && limit > MACH_PORT_QLIMIT_MAX) return KERN_INVALID_VALUE;

  port* fresh = new port;
  fresh->context = what_.words[2];
  if (flags & MPO_QLIMIT) fresh->queue_limit = limit;
  if (flags & MPO_CONTEXT_AS_GUARD) {
    fresh->guarded = true;
    fresh->strict_guard = (flags & MPO_STRICT) != 0;
    fresh->immovable = (flags & MPO_IMMOVABLE_RECEIVE) != 0;
  }
  fresh->reply = (flags & MPO_REPLY_PORT) != 0;
  fresh->provisional_reply = (flags & MPO_PROVISIONAL_REPLY_PORT) != 0;
  fresh->wants_reply_port = (flags & MPO_ENFORCE_REPLY_PORT_SEMANTICS) != 0;
  fresh->immovable_send = (flags & MPO_CONNECTION_PORT) != 0;
  if (flags & (MPO_EXCEPTION_PORT | MPO_CONNECTION_PORT)) fresh->immovable = true;
  fresh->temporary_owner = (flags & MPO_TEMPOWNER) != 0;
  fresh->importance_donation =
      (flags & (MPO_TEMPOWNER | MPO_IMPORTANCE_RECEIVER | MPO_DENAP_RECEIVER)) != 0;
  if (flags & MPO_INSERT_SEND_RIGHT) {
    fresh->make_send_count = 1;
    fresh->send_rights = 1;
  }
  const std::lock_guard hold(space_.lock);
  entry* made = nullptr;
  mach_port_name_t as = MACH_PORT_NULL;
  const kern_return_t result = new_name(fresh, MACH_PORT_TYPE_RECEIVE, made, as);
  if (result != KERN_SUCCESS) return result;
  fresh->receiver = &space_;
  fresh->receiver_name = as;
  if (flags & MPO_INSERT_SEND_RIGHT) {
    made->type = MACH_PORT_TYPE_SEND_RECEIVE;
    made->urefs = 1;
  }
  return KERN_SUCCESS;
}

kern_return_t port_call::destruct() {
  if (is_null_or_dead(name())) return KERN_INVALID_NAME;
  const std::lock_guard hold(space_.lock);
  entry* found = space_.find(name());
  if (!found) return refused(name(), KERN_INVALID_NAME);
  return destruct_receive(rights_in(space_), name(), *found, argument<mach_port_delta_t>(1),
                          what_.words[2]);
}

kern_return_t port_call::release(bool all) {
  if (is_null_or_dead(name())) return KERN_SUCCESS;
  const std::lock_guard hold(space_.lock);
  entry* found = space_.find(name());
  if (!found) return refused(name(), KERN_INVALID_NAME);
  return all ? destroy_rights(rights_in(space_), name(), *found)
             : deallocate_right(rights_in(space_), name(), *found);
}

kern_return_t port_call::get_refs() {
  const auto right = argument<mach_port_right_t>(1);
  if (right >= MACH_PORT_RIGHT_NUMBER) return KERN_INVALID_VALUE;
  if (is_null_or_dead(name())) {
    if (right != MACH_PORT_RIGHT_SEND && right != MACH_PORT_RIGHT_SEND_ONCE) {
      return KERN_INVALID_NAME;
    }
    answer_.words[0] = 1;
    return KERN_SUCCESS;
  }
  const std::lock_guard hold(space_.lock);
  entry* found = space_.find(name());
  if (!found) return KERN_INVALID_NAME;
  convert_if_dead(space_, name(), *found);
  const bool has = (found->type & MACH_PORT_TYPE(right)) != 0;
  const bool counted = right == MACH_PORT_RIGHT_SEND || right == MACH_PORT_RIGHT_DEAD_NAME;
  answer_.words[0] = !has ? 0 : counted ? found->urefs : 1;
  return KERN_SUCCESS;
}

kern_return_t port_call::mod_refs() {
  const bool self = what_.call == call_number::self;
  const mach_port_right_t right = self ? MACH_PORT_RIGHT_SEND : argument<mach_port_right_t>(1);
  const mach_port_delta_t delta = self ? 1 : argument<mach_port_delta_t>(2);
  if (right >= MACH_PORT_RIGHT_NUMBER) return KERN_INVALID_VALUE;
  if (is_null_or_dead(name())) {
    return right == MACH_PORT_RIGHT_SEND || right == MACH_PORT_RIGHT_SEND_ONCE ? KERN_SUCCESS
                                                                               : KERN_INVALID_NAME;
  }
  answer_.words[0] = name();
  const std::lock_guard hold(space_.lock);
  entry* found = space_.find(name());
  if (!found) return refused(name(), KERN_INVALID_NAME);
  return change_refs(rights_in(space_), name(), *found, right, delta);
}

kern_return_t port_call::insert_right() {
  const mach_port_name_t poly = name(1);
  const auto disposition = argument<mach_msg_type_name_t>(2);
  carried_right right;
  {
    const std::lock_guard hold(caller_.names.lock);
    entry* found = is_null_or_dead(poly) ? nullptr : caller_.names.find(poly);
    if (!found) return KERN_INVALID_NAME;
    if (poly == name() && disposition == MACH_MSG_TYPE_MAKE_SEND && &caller_.names == &space_ &&
        convert_if_dead(space_, poly, *found)) {
      return KERN_INVALID_CAPABILITY;
    }
    // A copy into its own name does not find out that the port is dead: the name stays what it is.
    if (poly == name() && disposition == MACH_MSG_TYPE_COPY_SEND && &caller_.names == &space_ &&
        type_of(*found) == MACH_PORT_TYPE_DEAD_NAME) {
      return KERN_INVALID_CAPABILITY;
    }
    const kern_return_t result =
        copy_in(rights_in(caller_.names), poly, *found, {disposition}, right);
    if (result != KERN_SUCCESS) return result;
  }
  // From here on a failure has consumed the right.
  then_.flush(after_);
  if (is_null_or_dead(name())) {
    release_right(right, after_);
    return KERN_INVALID_VALUE;
  }
  if (!right.target) return KERN_INVALID_CAPABILITY;
  space_.lock.lock();
  const kern_return_t result =
      space_.active ? copy_out_at(space_, right, name()) : KERN_INVALID_TASK;
  space_.lock.unlock();
  if (result != KERN_SUCCESS) release_right(right, after_);
  return result;
}

kern_return_t port_call::extract_right() {
  const auto disposition = argument<mach_msg_type_name_t>(1);
  if (!MACH_MSG_TYPE_PORT_ANY(disposition)) return KERN_INVALID_VALUE;
  if (is_null_or_dead(name())) return KERN_INVALID_RIGHT;
  carried_right right;
  {
    const std::lock_guard hold(space_.lock);
    entry* found = space_.find(name());
    if (!found) return KERN_INVALID_NAME;
    const kern_return_t result = copy_in(rights_in(space_), name(), *found, {disposition}, right);
    if (result != KERN_SUCCESS) return result;
  }
  then_.flush(after_);
  mach_port_name_t as = MACH_PORT_NULL;
  caller_.names.lock.lock();
  const kern_return_t result = copy_out(caller_.names, right, as);
  caller_.names.lock.unlock();
  if (result != KERN_SUCCESS) {
    release_right(right, after_);
    return result;
  }
  answer_.words = {as, arrives_as(disposition)};
  return KERN_SUCCESS;
}

// Both names are looked up before either right is. The space is locked (Darwin:
// ipc_object_translate_two, which takes any right to have been a receive right for a forgivable
// error, and has the calls that add a member look for the set first, without a guard).
kern_return_t port_call::find_member_and_set(port*& member, port_set*& set) noexcept {
  const entry* first = space_.find(name());
  const entry* second = space_.find(name(1));
  if (what_.call != call_number::extract_member) {
    if (!second) return KERN_INVALID_NAME;
    if (second->type != MACH_PORT_TYPE_PORT_SET) return KERN_INVALID_RIGHT;
  }
  if (!first || !second) return refused(name(first ? 1 : 0), KERN_INVALID_NAME);
  if ((first->type & MACH_PORT_TYPE_RECEIVE) == 0) {
    return first->had_receive ? KERN_INVALID_RIGHT : refused(name(), KERN_INVALID_RIGHT);
  }
  if (second->type != MACH_PORT_TYPE_PORT_SET) {
    return second->had_receive ? KERN_INVALID_RIGHT : refused(name(1), KERN_INVALID_RIGHT);
  }
  member = static_cast<port*>(first->target);
  set = static_cast<port_set*>(second->target);
  return KERN_SUCCESS;
}

kern_return_t port_call::change_members() {
  const bool leaves_all = what_.call == call_number::move_member && name(1) == MACH_PORT_NULL;
  if (is_null_or_dead(name()) || (is_null_or_dead(name(1)) && !leaves_all)) {
    return KERN_INVALID_RIGHT;
  }
  const std::lock_guard hold(space_.lock);
  port* member = nullptr;
  port_set* set = nullptr;
  if (leaves_all) {
    const entry* found = space_.find(name());
    if (!found) return KERN_INVALID_NAME;
    if ((found->type & MACH_PORT_TYPE_RECEIVE) == 0) return KERN_INVALID_RIGHT;
    member = static_cast<port*>(found->target);
  } else if (const kern_return_t failed = find_member_and_set(member, set);
             failed != KERN_SUCCESS) {
    return failed;
  }
  if (what_.call == call_number::extract_member) {
    return extract_member(*member, *set, after_.owner.profile());
  }
  if (what_.call == call_number::move_member) {
    const std::lock_guard hold_member(member->lock);
    const bool left = leave_all_sets(*member);
    if (leaves_all) {
      return left || !after_.owner.profile().wants_a_set_to_leave() ? KERN_SUCCESS
                                                                    : KERN_NOT_IN_SET;
    }
  }
  return insert_member(*member, *set, after_);
}

kern_return_t port_call::get_set_status() {
  if (is_null_or_dead(name())) return KERN_INVALID_RIGHT;
  const std::lock_guard hold(space_.lock);
  entry* found = space_.find(name());
  if (!found) return KERN_INVALID_NAME;
  if (found->type != MACH_PORT_TYPE_PORT_SET) return KERN_INVALID_RIGHT;
  port_set& set = static_cast<port_set&>(*found->target);
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
  answer_.words[0] = members.size();
  if (members.size() > what_.words[2]) return KERN_SUCCESS;
  return memory_.out(members.data(), what_.words[1], members.size() * sizeof(mach_port_name_t)) ||
                 members.empty()
             ? KERN_SUCCESS
             : KERN_INVALID_ADDRESS;
}

// Makes the send-once right that a notification will consume; null if none is asked for.
kern_return_t port_call::take_notify(mach_port_name_t notify, mach_msg_type_name_t as,
                                     port*& right) {
  const bool once = as == MACH_MSG_TYPE_MAKE_SEND_ONCE || as == MACH_MSG_TYPE_MOVE_SEND_ONCE;
  if (is_null_or_dead(notify)) {
    if (!once) return MIG_TYPE_ERROR;
    return notify == MACH_PORT_NULL ? KERN_SUCCESS : KERN_INVALID_CAPABILITY;
  }
  carried_right taken;
  bool known = false;
  kern_return_t result = KERN_INVALID_NAME;
  {
    const std::lock_guard hold(caller_.names.lock);
    if (entry* found = caller_.names.find(notify)) {
      known = true;
      result = copy_in(rights_in(caller_.names), notify, *found, {as}, taken);
    }
  }
  then_.flush(after_);
  if (!once) {
    // Darwin's wrapper sends a message then: MIG refuses the type, or the copy-in fails.
    if (result != KERN_SUCCESS) {
      if (known && answer_.guard.code == 0) {
        answer_.guard = {kGUARD_EXC_SEND_INVALID_RIGHT, notify, 0};
      }
      return MACH_SEND_INVALID_RIGHT;
    }
    release_right(taken, after_);
    return MIG_TYPE_ERROR;
  }
  if (result != KERN_SUCCESS) return result;
  if (!taken.target) return KERN_INVALID_CAPABILITY;
  right = taken.target;
  return KERN_SUCCESS;
}

kern_return_t port_call::request_notification() {
  const auto id = argument<mach_msg_id_t>(1);
  const auto sync = argument<mach_port_mscount_t>(2);
  port* notify = nullptr;
  const kern_return_t taken = take_notify(name(3), argument<mach_msg_type_name_t>(4), notify);
  if (taken != KERN_SUCCESS) return taken;
  port* previous = nullptr;
  kern_return_t result = KERN_RESOURCE_SHORTAGE;
  try {
    result = request_notification_at(rights_in(space_), name(), {id, sync, notify}, previous);
  } catch (const std::bad_alloc&) {
  }
  then_.flush(after_);
  if (result != KERN_SUCCESS) {
    if (notify) release_send_once_right(notify, after_);
    return result;
  }
  carried_right back{previous, MACH_MSG_TYPE_MOVE_SEND_ONCE, false};
  mach_port_name_t as = MACH_PORT_NULL;
  caller_.names.lock.lock();
  const kern_return_t copied = copy_out(caller_.names, back, as);
  caller_.names.lock.unlock();
  if (copied != KERN_SUCCESS) release_right(back, after_);
  // The new request stands all the same.
  if (as == MACH_PORT_DEAD && notify) return KERN_INVALID_CAPABILITY;
  answer_.words[0] = as;
  return KERN_SUCCESS;
}

kern_return_t port_call::refused(mach_port_name_t refused, kern_return_t result) noexcept {
  answer_.guard = {result == KERN_INVALID_NAME ? kGUARD_EXC_INVALID_NAME : kGUARD_EXC_INVALID_RIGHT,
                   refused, 0};
  return result;
}

kern_return_t port_call::peek() {
  if (is_null_or_dead(name())) return KERN_INVALID_RIGHT;
  const auto elements = argument<mach_msg_option_t>(1);
  const mach_msg_size_t size = REQUESTED_TRAILER_SIZE(elements);
  // Nothing beyond the audit token is told.
  if (GET_RCV_ELEMENTS(elements) > MACH_RCV_TRAILER_AUDIT || size > argument<std::uint32_t>(4)) {
    answer_.guard = {kGUARD_EXC_INVALID_VALUE, name(), 0};
    return KERN_INVALID_VALUE;
  }
  mach_msg_max_trailer_t trailer{};
  {
    const std::lock_guard hold(space_.lock);
    entry* found = space_.find(name());
    if (!found) return refused(name(), KERN_INVALID_NAME);
    if ((found->type & MACH_PORT_TYPE_RECEIVE) == 0) return refused(name(), KERN_INVALID_RIGHT);
    port& of = static_cast<port&>(*found->target);
    const std::lock_guard hold_port(of.lock);
    // 0 means the next one, whatever its number is.
    const auto asked = argument<mach_port_seqno_t>(2);
    const mach_port_seqno_t number = asked == 0 ? of.sequence : asked;
    kmsg* message = of.queue().peek_beyond(number - of.sequence);
    if (!message) return KERN_FAILURE;
    answer_.words = {
        std::uint64_t{number} << 32 | size_inside(*message),
        std::uint64_t{static_cast<std::uint32_t>(message->id)} << 32 | std::uint64_t{size}};
    trailer.msgh_trailer_size = size;
    trailer.msgh_seqno = number;
    trailer.msgh_sender = message->sender;
    trailer.msgh_audit = message->audit;
  }
  return memory_.out(&trailer, what_.words[3], size) ? KERN_SUCCESS : KERN_INVALID_ADDRESS;
}

kern_return_t port_call::change_receive() {
  const bool guards = what_.call == call_number::guard || what_.call == call_number::unguard ||
                      what_.call == call_number::swap_guard;
  const bool by_name = guards || what_.call == call_number::get_srights;
  if (is_null_or_dead(name())) return by_name ? KERN_INVALID_NAME : KERN_INVALID_RIGHT;
  const std::lock_guard hold(space_.lock);
  entry* found = space_.find(name());
  if (!found || (found->type & MACH_PORT_TYPE_RECEIVE) == 0) {
    const kern_return_t why = found ? KERN_INVALID_RIGHT : KERN_INVALID_NAME;
    return guards ? refused(name(), why) : why;
  }
  port& of = static_cast<port&>(*found->target);
  const std::lock_guard hold_port(of.lock);
  switch (what_.call) {
    case call_number::set_mscount:
      of.make_send_count = argument<mach_port_mscount_t>(1);
      return KERN_SUCCESS;
    case call_number::set_seqno:
      of.sequence = argument<mach_port_seqno_t>(1);
      return KERN_SUCCESS;
    case call_number::get_srights:
      answer_.words[0] = of.send_rights;
      return KERN_SUCCESS;
    case call_number::get_context:
      answer_.words[0] = of.strict_guard ? 0 : of.context;
      return KERN_SUCCESS;
    default:
      return change_guard(of);
  }
}

// The port is locked.
kern_return_t port_call::change_guard(port& of) {
  const mach_port_context_t value = what_.words[1];
  const auto violated = [&](std::uint32_t code, std::uint64_t subcode) {
    answer_.guard = {code, name(), subcode};
    return KERN_INVALID_ARGUMENT;
  };
  switch (what_.call) {
    case call_number::set_context:
      if (of.strict_guard) return violated(kGUARD_EXC_SET_CONTEXT, of.context);
      of.context = value;
      return KERN_SUCCESS;
    case call_number::guard:
      if (of.context != 0) return violated(kGUARD_EXC_INVALID_ARGUMENT, 0);
      of.guarded = true;
      of.context = value;
      of.strict_guard = (what_.words[2] & MPG_STRICT) != 0;
      if (what_.words[2] & MPG_IMMOVABLE_RECEIVE) of.immovable = true;
      return KERN_SUCCESS;
    case call_number::unguard:
      if (!of.guarded) return violated(kGUARD_EXC_UNGUARDED, 0);
      if (of.context != value) return violated(kGUARD_EXC_INCORRECT_GUARD, of.context);
      of.guarded = of.strict_guard = false;  // an immovable right stays so
      of.context = 0;
      return KERN_SUCCESS;
    default:
      if (!of.guarded) return violated(kGUARD_EXC_UNGUARDED, 0);
      if (of.strict_guard) return violated(kGUARD_EXC_SET_CONTEXT, of.context);
      if (of.context != value) return violated(kGUARD_EXC_INCORRECT_GUARD, of.context);
      of.context = what_.words[2];
      return KERN_SUCCESS;
  }
}

}  // namespace

void do_port_call(ipc_task& caller, ipc_task& target, const request& what, reply& answer,
                  copyio& memory, deferred_work& after) {
  answer.result = port_call(caller, target, what, answer, memory, after).run();
}

}  // namespace kedge::mach::kernel
