// mach_msg and what the C library makes of it.
#include <mach/mach.h>

#include <cstdint>
#include <cstring>

#include "kedge/mach/kernel/abi/bound.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::call_number;
using kedge::mach::kernel::reply;
using kedge::mach::kernel::request;

namespace {

void release(mach_port_name_t name, mach_msg_type_name_t disposition) {
  if (!MACH_PORT_VALID(name)) return;
  switch (disposition) {
    case MACH_MSG_TYPE_MOVE_SEND:
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
      mach_port_deallocate(mach_task_self(), name);
      break;
    case MACH_MSG_TYPE_MOVE_RECEIVE:
      mach_port_mod_refs(mach_task_self(), name, MACH_PORT_RIGHT_RECEIVE, -1);
      break;
    // Of a message that was never sent: the right is made, for its effects, and released.
    case MACH_MSG_TYPE_MAKE_SEND:
      if (mach_port_insert_right(mach_task_self(), name, name, disposition) == KERN_SUCCESS) {
        mach_port_deallocate(mach_task_self(), name);
      }
      break;
    case MACH_MSG_TYPE_MAKE_SEND_ONCE: {
      mach_port_t made = MACH_PORT_NULL;
      mach_msg_type_name_t type = MACH_MSG_TYPE_PORT_NONE;
      if (mach_port_extract_right(mach_task_self(), name, disposition, &made, &type) ==
          KERN_SUCCESS) {
        mach_port_deallocate(mach_task_self(), made);
      }
      break;
    }
    default:
      break;
  }
}

}  // namespace

extern "C" {

mach_msg_return_t mach_msg_overwrite(mach_msg_header_t* msg, mach_msg_option_t option,
                                     mach_msg_size_t send_size, mach_msg_size_t rcv_size,
                                     mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                                     mach_port_name_t notify, mach_msg_header_t* rcv_msg,
                                     mach_msg_size_t) {
  request what{.call = call_number::message,
               .words = {static_cast<std::uint64_t>(option), send_size, rcv_size, rcv_name, timeout,
                         notify, reinterpret_cast<std::uintptr_t>(msg),
                         reinterpret_cast<std::uintptr_t>(rcv_msg ? rcv_msg : msg)}};
  for (;;) {
    reply answer;
    call(what, answer, "mach_msg");
    if (answer.result == MACH_MSG_SUCCESS) [[likely]]
      return MACH_MSG_SUCCESS;
    // Without MACH_*_INTERRUPT an interrupted half is begun again, with the whole time-out, as
    // Darwin's C library does.
    if (answer.result == MACH_SEND_INTERRUPTED && !(option & MACH_SEND_INTERRUPT)) continue;
    if (answer.result != MACH_RCV_INTERRUPTED || (option & MACH_RCV_INTERRUPT)) {
      return answer.result;
    }
    what.words[0] &= ~std::uint64_t{MACH_SEND_MSG};
  }
}

mach_msg_return_t mach_msg(mach_msg_header_t* msg, mach_msg_option_t option,
                           mach_msg_size_t send_size, mach_msg_size_t rcv_size,
                           mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                           mach_port_name_t notify) {
  return mach_msg_overwrite(msg, option, send_size, rcv_size, rcv_name, timeout, notify, nullptr,
                            0);
}

mach_msg_return_t mach_msg_send(mach_msg_header_t* header) {
  return mach_msg(header, MACH_SEND_MSG, header->msgh_size, 0, MACH_PORT_NULL,
                  MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
}

mach_msg_return_t mach_msg_receive(mach_msg_header_t* header) {
  return mach_msg(header, MACH_RCV_MSG, 0, header->msgh_size, header->msgh_local_port,
                  MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
}

void mach_msg_destroy(mach_msg_header_t* header) {
  const mach_msg_bits_t bits = header->msgh_bits;
  release(header->msgh_remote_port, MACH_MSGH_BITS_REMOTE(bits));
  if (!MACH_MSGH_BITS_IS_COMPLEX(bits)) return;
  const auto* at = reinterpret_cast<const char*>(header) + sizeof(mach_msg_header_t);
  mach_msg_body_t body;
  std::memcpy(&body, at, sizeof body);
  at += sizeof body;
  for (mach_msg_size_t left = body.msgh_descriptor_count; left > 0; --left) {
    mach_msg_port_descriptor_t descriptor;
    std::memcpy(&descriptor, at, sizeof descriptor);
    // Nothing but port descriptors arrives here yet.
    if (descriptor.type != MACH_MSG_PORT_DESCRIPTOR) return;
    release(descriptor.name, descriptor.disposition);
    at += sizeof descriptor;
  }
}

}  // extern "C"
