// The calls on a receive right: its counters, its guard and its next message (Darwin:
// mach_port_set_mscount, mach_port_guard, mach_port_peek and their like in mach_port.c).
#include <mutex>

#include "kedge/mach/kernel/core/calls/message_call.h"
#include "kedge/mach/kernel/core/calls/port_call.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right_release.h"

namespace kedge::mach::kernel {

kern_return_t port_call::find_receive_right(mach_port_name_t name, port*& receive_right,
                                            kern_return_t if_null_or_dead) noexcept {
  if (is_null_or_dead(name)) return if_null_or_dead;
  return mach::kernel::find_receive_right(space_, name, receive_right);
}

kern_return_t port_call::destruct(const requests::destruct& request) {
  if (is_null_or_dead(request.name)) return KERN_INVALID_NAME;
  const std::lock_guard hold(space_.lock);
  entry* const found = space_.find(request.name);
  if (!found) return refuse(request.name, KERN_INVALID_NAME);
  return destruct_receive(rights_in(space_), request.name, *found, request.send_delta,
                          request.guard);
}

template <typename Work>
kern_return_t port_call::with_receive_right(mach_port_name_t name, Work work,
                                            kern_return_t if_null_or_dead) {
  const std::lock_guard hold(space_.lock);
  port* found = nullptr;
  const kern_return_t failed = find_receive_right(name, found, if_null_or_dead);
  if (failed != KERN_SUCCESS) return failed;
  const std::lock_guard hold_port(found->lock);
  return work(*found);
}

kern_return_t port_call::set_mscount(const requests::set_mscount& request) {
  return with_receive_right(request.name, [&](port& of) {
    of.make_send_count = request.count;
    return KERN_SUCCESS;
  });
}

kern_return_t port_call::set_seqno(const requests::set_seqno& request) {
  return with_receive_right(request.name, [&](port& of) {
    of.sequence_shift += request.sequence_number - of.sequence;
    of.sequence = request.sequence_number;
    return KERN_SUCCESS;
  });
}

kern_return_t port_call::get_srights(const requests::get_srights& request,
                                     replies::get_srights& reply) {
  return with_receive_right(
      request.name,
      [&](port& of) {
        reply.count = of.send_rights;
        return KERN_SUCCESS;
      },
      KERN_INVALID_NAME);
}

kern_return_t port_call::get_context(const requests::get_context& request,
                                     replies::get_context& reply) {
  return with_receive_right(request.name, [&](port& of) {
    reply.context = of.strict_guard ? 0 : of.context;
    return KERN_SUCCESS;
  });
}

kern_return_t port_call::set_context(const requests::set_context& request) {
  return with_receive_right(request.name, [&](port& of) {
    if (of.strict_guard) return violate(kGUARD_EXC_SET_CONTEXT, request.name, of.context);
    of.context = request.context;
    return KERN_SUCCESS;
  });
}

template <typename Work>
kern_return_t port_call::with_right_to_guard(mach_port_name_t name, Work work) {
  bool is_found = false;
  const kern_return_t result = with_receive_right(
      name,
      [&](port& of) {
        is_found = true;
        return work(of);
      },
      KERN_INVALID_NAME);
  return is_found || is_null_or_dead(name) ? result : refuse(name, result);
}

kern_return_t port_call::guard(const requests::guard& request) {
  return with_right_to_guard(request.name, [&](port& of) {
    if (of.context != 0) return violate(kGUARD_EXC_INVALID_ARGUMENT, request.name, 0);
    of.guarded = true;
    of.context = request.context;
    of.strict_guard = (request.flags & MPG_STRICT) != 0;
    if (request.flags & MPG_IMMOVABLE_RECEIVE) of.immovable = true;
    return KERN_SUCCESS;
  });
}

kern_return_t port_call::unguard(const requests::unguard& request) {
  return with_right_to_guard(request.name, [&](port& of) {
    if (!of.guarded) return violate(kGUARD_EXC_UNGUARDED, request.name, 0);
    if (of.context != request.context) {
      return violate(kGUARD_EXC_INCORRECT_GUARD, request.name, of.context);
    }
    of.guarded = of.strict_guard = false;  // an immovable right stays so
    of.context = 0;
    return KERN_SUCCESS;
  });
}

kern_return_t port_call::swap_guard(const requests::swap_guard& request) {
  return with_right_to_guard(request.name, [&](port& of) {
    if (!of.guarded) return violate(kGUARD_EXC_UNGUARDED, request.name, 0);
    if (of.strict_guard) return violate(kGUARD_EXC_SET_CONTEXT, request.name, of.context);
    if (of.context != request.old_context) {
      return violate(kGUARD_EXC_INCORRECT_GUARD, request.name, of.context);
    }
    of.context = request.new_context;
    return KERN_SUCCESS;
  });
}

kern_return_t port_call::peek(const requests::peek& request, replies::peek& reply) {
  const mach_port_name_t name = request.name;
  if (is_null_or_dead(name)) return KERN_INVALID_RIGHT;
  const auto elements = static_cast<mach_msg_option_t>(request.elements);
  const mach_msg_size_t size = REQUESTED_TRAILER_SIZE(elements);
  // Of a trailer, what is beyond the audit token cannot be asked for.
  if (GET_RCV_ELEMENTS(elements) > MACH_RCV_TRAILER_AUDIT || size > request.trailer.size) {
    guard_ = {kGUARD_EXC_INVALID_VALUE, name, 0};
    return KERN_INVALID_VALUE;
  }
  mach_msg_max_trailer_t trailer{};
  {
    const std::lock_guard hold(space_.lock);
    port* of = nullptr;
    const kern_return_t failed = find_receive_right(name, of);
    if (failed != KERN_SUCCESS) return refuse(name, failed);
    const std::lock_guard hold_port(of->lock);
    const mach_port_seqno_t number =
        request.sequence_number == 0 ? of->sequence : request.sequence_number;
    kmsg* const message = of->queue().peek_beyond(number - of->sequence);
    if (!message) return KERN_FAILURE;
    reply = {.sequence_number = number,
             .size = size_inside(*message),
             .id = message->id,
             .trailer_size = size};
    trailer.msgh_trailer_size = size;
    trailer.msgh_seqno = number;
    trailer.msgh_sender = message->sender;
    trailer.msgh_audit = message->audit;
  }
  return memory_.out(&trailer, request.trailer.at, size) ? KERN_SUCCESS : KERN_INVALID_ADDRESS;
}

}  // namespace kedge::mach::kernel
