// Dispatches each mach_port_* call to its function. The calls on names and the calls that make
// ports are here too (Darwin: mach_port.c, ipc_port.c).
#include "kedge/mach/kernel/core/calls/port_call.h"

#include <mach/mig_errors.h>

#include <bit>
#include <mutex>
#include <new>

#include "kedge/mach/kernel/core/calls/dispatch.h"
#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {

kern_return_t port_call::run(const any_request& request, any_reply& reply) noexcept {
  kern_return_t result = KERN_SUCCESS;
  try {
    result = dispatch(request, reply);
  } catch (const std::bad_alloc&) {
    result = KERN_RESOURCE_SHORTAGE;
  }
  deferred_.flush(cleanup_);
  return result;
}

kern_return_t port_call::dispatch(const any_request& request, any_reply& reply) {
  const dispatcher run(*this, request, reply);
  switch (request.number) {
    case call_number::names:
      return run(&port_call::names);
    case call_number::type:
      return run(&port_call::type);
    case call_number::reply_port:
      return run(&port_call::reply_port);
    case call_number::allocate:
      return run(&port_call::allocate);
    case call_number::construct:
      return run(&port_call::construct);
    case call_number::destruct:
      return run(&port_call::destruct);
    case call_number::destroy:
      return run(&port_call::destroy);
    case call_number::deallocate:
      return run(&port_call::deallocate);
    case call_number::get_refs:
      return run(&port_call::get_refs);
    case call_number::self:
      return run(&port_call::self);
    case call_number::mod_refs:
      return run(&port_call::mod_refs);
    case call_number::insert_right:
      return run(&port_call::insert_right);
    case call_number::extract_right:
      return run(&port_call::extract_right);
    case call_number::move_member:
      return run(&port_call::move_member);
    case call_number::insert_member:
      return run(&port_call::insert_member);
    case call_number::extract_member:
      return run(&port_call::extract_member);
    case call_number::get_set_status:
      return run(&port_call::get_set_status);
    case call_number::request_notification:
      return run(&port_call::request_notification);
    case call_number::rename:
      return run(&port_call::rename);
    case call_number::allocate_full:
      return run(&port_call::allocate_full);
    default:
      return dispatch_to_port(request, reply);
  }
}

// The calls that ask or change what a port has, rather than the rights to it.
kern_return_t port_call::dispatch_to_port(const any_request& request, any_reply& reply) {
  const dispatcher run(*this, request, reply);
  switch (request.number) {
    case call_number::get_attributes:
      return run(&port_call::get_attributes);
    case call_number::set_attributes:
      return run(&port_call::set_attributes);
    case call_number::peek:
      return run(&port_call::peek);
    case call_number::assert_attributes:
      return run(&port_call::assert_attributes);
    case call_number::dnrequest_info:
      return run(&port_call::dnrequest_info);
    case call_number::kobject:
      return run(&port_call::kobject);
    case call_number::space_info:
      return run(&port_call::space_info);
    case call_number::space_basic_info:
      return run(&port_call::space_basic_info);
    case call_number::service_port_info:
      return run(&port_call::service_port_info);
    case call_number::connection_policy:
      return run(&port_call::connection_policy);
    case call_number::get_srights:
      return run(&port_call::get_srights);
    case call_number::set_mscount:
      return run(&port_call::set_mscount);
    case call_number::set_seqno:
      return run(&port_call::set_seqno);
    case call_number::get_context:
      return run(&port_call::get_context);
    case call_number::set_context:
      return run(&port_call::set_context);
    case call_number::guard:
      return run(&port_call::guard);
    case call_number::unguard:
      return run(&port_call::unguard);
    case call_number::swap_guard:
      return run(&port_call::swap_guard);
    default:
      return KERN_INVALID_ARGUMENT;
  }
}

kern_return_t port_call::names(const requests::names& request, replies::names& reply) {
  const std::lock_guard hold(space_.lock);
  space_.each([&](mach_port_name_t, const entry&) { ++reply.count; });
  if (reply.count > request.room) return KERN_SUCCESS;
  std::uint64_t index = 0;
  bool writable = true;
  space_.each([&](mach_port_name_t name, const entry& each) {
    const mach_port_type_t type = type_of(each);
    writable = writable &&
               memory_.out(&name, request.to_names + index * sizeof name, sizeof name) &&
               memory_.out(&type, request.to_types + index * sizeof type, sizeof type);
    ++index;
  });
  return writable ? KERN_SUCCESS : KERN_INVALID_ADDRESS;
}

kern_return_t port_call::type(const requests::type& request, replies::type& reply) {
  if (request.name == MACH_PORT_NULL) return KERN_INVALID_NAME;
  if (request.name == MACH_PORT_DEAD) {
    reply.value = MACH_PORT_TYPE_DEAD_NAME;
    return KERN_SUCCESS;
  }
  end_receiver(request.name);
  const std::lock_guard hold(space_.lock);
  entry* const found = space_.find(request.name);
  if (!found) return KERN_INVALID_NAME;
  convert_if_dead(space_, request.name, *found);
  constexpr mach_port_type_t hidden = MACH_PORT_TYPE_SPREQUEST | MACH_PORT_TYPE_SPREQUEST_DELAYED;
  reply.value = type_of(*found) & ~hidden;
  return KERN_SUCCESS;
}

// In macOS 11 a routine refuses the call; later there is no such routine.
kern_return_t port_call::rename(const requests::rename&) {
  return cleanup_.owner.os_profile().knows_rename() ? KERN_NOT_SUPPORTED : MIG_BAD_ID;
}

// Makes an entry, as new_name.
kern_return_t port_call::make_entry(entry*& made, mach_port_name_t& name) noexcept {
  if (!space_.active) return KERN_INVALID_TASK;
  if (name == MACH_PORT_NULL) {
    name = space_.make(made);
    return name == MACH_PORT_NULL ? KERN_NO_SPACE : KERN_SUCCESS;
  }
  const profile answers = cleanup_.owner.os_profile();
  const kern_return_t failed = space_.find_slot(name, answers.checks_generation_bits(), made);
  if (failed != KERN_SUCCESS) return failed;
  if (made->type != MACH_PORT_TYPE_NONE) return KERN_NAME_EXISTS;
  space_.take_slot(name, *made);
  return KERN_SUCCESS;
}

kern_return_t port_call::new_name(object* fresh, mach_port_type_t type, entry*& made,
                                  mach_port_name_t& name) {
  const kern_return_t failed = make_entry(made, name);
  if (failed != KERN_SUCCESS) {
    if (fresh) fresh->release();
    return failed;
  }
  made->target = fresh;
  made->type = type;
  made->urefs = type == MACH_PORT_TYPE_DEAD_NAME ? 1 : 0;
  return KERN_SUCCESS;
}

// As new_name.
kern_return_t port_call::name_receive_right(port& fresh, entry*& made, mach_port_name_t& name) {
  const kern_return_t failed = new_name(&fresh, MACH_PORT_TYPE_RECEIVE, made, name);
  if (failed != KERN_SUCCESS) return failed;
  fresh.receiver = &space_;
  fresh.receiver_name = name;
  return KERN_SUCCESS;
}

kern_return_t port_call::reply_port(const requests::reply_port&, replies::reply_port& reply) {
  return allocate_right(MACH_PORT_RIGHT_RECEIVE, reply.name);
}

kern_return_t port_call::allocate(const requests::allocate& request, replies::allocate& reply) {
  return allocate_right(request.right, reply.name);
}

kern_return_t port_call::allocate_full(const requests::allocate_full& request,
                                       replies::allocate_full& reply) {
  using asked = requests::allocate_full;
  const bool named = (request.flags & asked::named) != 0;
  if (named && (request.flags & asked::must_not_name)) return KERN_INVALID_ARGUMENT;
  if (request.proto != MACH_PORT_NULL) {
    carried_right proto;
    const kern_return_t failed = take_copy(caller_.names, request.proto, proto, guard_, cleanup_);
    if (failed != KERN_SUCCESS) return failed;
    release_right(proto, cleanup_);
    return KERN_INVALID_VALUE;
  }
  if (named && is_null_or_dead(request.name)) return KERN_INVALID_VALUE;
  if (request.flags & asked::preallocate) {
    constexpr mach_msg_size_t longest = MACH_MSG_SIZE_MAX - sizeof(mach_msg_max_trailer_t);
    if (request.length > longest) return KERN_RESOURCE_SHORTAGE;
    if (request.right != MACH_PORT_RIGHT_RECEIVE) return KERN_INVALID_VALUE;
  }
  // Darwin chooses the name of a dead name itself.
  const bool chosen = named && request.right != MACH_PORT_RIGHT_DEAD_NAME;
  reply.name = chosen ? request.name : MACH_PORT_NULL;
  return allocate_right(request.right, reply.name);
}

void port_call::require_memory() const {
  if (caller_.names.faults.happens(fault_point::port_memory)) throw std::bad_alloc();
}

void port_call::end_receiver(mach_port_name_t name, fault_point at) {
  if (!caller_.names.faults.planned()) [[likely]]
    return;
  ref<port> of;
  {
    const std::lock_guard hold(caller_.names.lock);
    const entry* const found = caller_.names.find(name);
    if (!found || !(found->type & MACH_PORT_TYPE_SEND_RIGHTS)) return;
    of = ref<port>(&port_of(*found));
  }
  cleanup_.owner.end_receiver(*of, caller_, at);
}

kern_return_t port_call::allocate_right(mach_port_right_t right, mach_port_name_t& name) {
  entry* made = nullptr;
  if (right == MACH_PORT_RIGHT_RECEIVE || right == MACH_PORT_RIGHT_PORT_SET) require_memory();
  if (right == MACH_PORT_RIGHT_RECEIVE) {
    port* const fresh = new port;
    const std::lock_guard hold(space_.lock);
    return name_receive_right(*fresh, made, name);
  }
  if (right == MACH_PORT_RIGHT_PORT_SET) {
    ipc_port_set* const fresh = new ipc_port_set;
    const std::lock_guard hold(space_.lock);
    const kern_return_t result = new_name(fresh, MACH_PORT_TYPE_PORT_SET, made, name);
    if (result == KERN_SUCCESS) fresh->name = name;
    return result;
  }
  if (right != MACH_PORT_RIGHT_DEAD_NAME) return KERN_INVALID_VALUE;
  const std::lock_guard hold(space_.lock);
  return new_name(nullptr, MACH_PORT_TYPE_DEAD_NAME, made, name);
}

// Whether a port can be of the kind that the flags ask for.
kern_return_t port_call::check_kind(std::uint32_t flags, mach_port_name_t service) {
  for (const std::uint32_t kinds :
       {std::uint32_t{MPO_SERVICE_PORT | MPO_CONNECTION_PORT | MPO_TG_BLOCK_TRACKING},
        std::uint32_t{MPO_REPLY_PORT | MPO_ENFORCE_REPLY_PORT_SEMANTICS | MPO_EXCEPTION_PORT |
                      MPO_PROVISIONAL_REPLY_PORT}}) {
    if (std::popcount(flags & kinds) > 1) return KERN_INVALID_ARGUMENT;
  }
  if (flags & MPO_SERVICE_PORT) return KERN_DENIED;  // only launchd makes them
  if ((flags & MPO_CONNECTION_PORT) == 0) return KERN_SUCCESS;
  if (service == MACH_PORT_NULL) return KERN_INVALID_ARGUMENT;
  const std::lock_guard hold(caller_.names.lock);
  port* found = nullptr;
  const kern_return_t failed = find_send_right(caller_.names, service, found);
  if (failed != KERN_SUCCESS) return failed;
  return found->service ? KERN_SUCCESS : KERN_INVALID_CAPABILITY;
}

namespace {

port* make_port(const requests::construct& request, std::uint32_t flags) {
  port* const fresh = new port;
  fresh->context = request.context;
  if (flags & MPO_QLIMIT) fresh->queue_limit = request.queue_limit;
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
  return fresh;
}

}  // namespace

kern_return_t port_call::construct(const requests::construct& request, replies::construct& reply) {
  std::uint32_t flags = request.flags;
  if (cleanup_.owner.os_profile().knows_kinds_of_ports()) {
    const kern_return_t refused = check_kind(flags, request.service);
    if (refused != KERN_SUCCESS) return refused;
  } else {
    flags &= MPO_TG_BLOCK_TRACKING * 2 - 1;
  }
  if (flags & MPO_TG_BLOCK_TRACKING) return KERN_DENIED;
  if ((flags & MPO_QLIMIT) && request.queue_limit > MACH_PORT_QLIMIT_MAX) return KERN_INVALID_VALUE;
  require_memory();
  port* const fresh = make_port(request, flags);
  const std::lock_guard hold(space_.lock);
  entry* made = nullptr;
  const kern_return_t result = name_receive_right(*fresh, made, reply.name);
  if (result != KERN_SUCCESS) return result;
  if (flags & MPO_INSERT_SEND_RIGHT) {
    made->type = MACH_PORT_TYPE_SEND_RECEIVE;
    made->urefs = 1;
  }
  return KERN_SUCCESS;
}

kern_return_t port_call::refuse(mach_port_name_t name, kern_return_t result) noexcept {
  guard_ = {result == KERN_INVALID_NAME ? kGUARD_EXC_INVALID_NAME : kGUARD_EXC_INVALID_RIGHT, name,
            0};
  return result;
}

kern_return_t port_call::violate(std::uint32_t code, mach_port_name_t name,
                                 std::uint64_t subcode) noexcept {
  guard_ = {code, name, subcode};
  return KERN_INVALID_ARGUMENT;
}

}  // namespace kedge::mach::kernel
