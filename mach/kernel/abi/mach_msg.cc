// Implements mach_msg() and its relatives, and send() and receive() of the extension, with what
// Darwin's C library adds to the system call: restarting interrupted calls, mach_msg_destroy().
#include <mach/mach.h>

#include <cstdint>
#include <cstring>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/extension.h"

using kedge::mach::kernel::any_reply;
using kedge::mach::kernel::any_request;
using kedge::mach::kernel::make_call_inline;
namespace requests = kedge::mach::kernel::requests;

namespace {

// Releases a right in a message that was received, or never sent. For MAKE_* it makes the right and
// releases that, with all effects of both, as Darwin's C library does.
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
    case MACH_MSG_TYPE_MAKE_SEND:
      mach_port_insert_right(mach_task_self(), name, name, disposition);
      mach_port_deallocate(mach_task_self(), name);
      break;
    case MACH_MSG_TYPE_MAKE_SEND_ONCE: {
      mach_port_t made = name;
      mach_msg_type_name_t type = disposition;
      mach_port_extract_right(mach_task_self(), name, disposition, &made, &type);
      mach_port_deallocate(mach_task_self(), made);
      break;
    }
    default:
      break;
  }
}

void release(const void* memory, std::size_t size) {
  if (size > 0) vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(memory), size);
}

template <typename Descriptor>
Descriptor read(const char*& at) {
  Descriptor found;
  std::memcpy(&found, at, sizeof found);
  at += sizeof found;
  return found;
}

// Releases what one descriptor holds, and advances `at` behind it. Returns false for an unknown
// kind: its length is unknown, so no descriptor behind it can be released either.
bool release_descriptor(const char*& at) {
  mach_msg_type_descriptor_t any;
  std::memcpy(&any, at, sizeof any);
  switch (any.type) {
    case MACH_MSG_PORT_DESCRIPTOR: {
      const auto port = read<mach_msg_port_descriptor_t>(at);
      release(port.name, port.disposition);
      return true;
    }
    case MACH_MSG_OOL_DESCRIPTOR: {
      // Memory that was copied physically has no deallocate flag. It leaks, as on Darwin.
      const auto memory = read<mach_msg_ool_descriptor_t>(at);
      if (memory.deallocate) release(memory.address, memory.size);
      return true;
    }
    case MACH_MSG_OOL_VOLATILE_DESCRIPTOR:
      at += sizeof(mach_msg_ool_descriptor_t);
      return true;
    case MACH_MSG_OOL_PORTS_DESCRIPTOR: {
      const auto ports = read<mach_msg_ool_ports_descriptor_t>(at);
      // An array that could not be copied out has a count, but no address (MACH_MSG_VM_SPACE).
      // Darwin's mach_msg_destroy() reads names there, and crashes.
      if (!ports.address) return true;
      const auto* const names = static_cast<const mach_port_name_t*>(ports.address);
      for (mach_msg_size_t index = 0; index < ports.count; ++index) {
        release(names[index], ports.disposition);
      }
      if (ports.deallocate) release(ports.address, ports.count * sizeof(mach_port_name_t));
      return true;
    }
    case MACH_MSG_GUARDED_PORT_DESCRIPTOR: {
      const auto port = read<mach_msg_guarded_port_descriptor_t>(at);
      if (!(port.flags & MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND)) {
        mach_port_unguard(mach_task_self(), port.name, port.context);
      }
      release(port.name, port.disposition);
      return true;
    }
    default:
      return false;
  }
}

// Restarts an interrupted call, as Darwin's C library does: without MACH_SEND_INTERRUPT or
// MACH_RCV_INTERRUPT the interrupted half starts again, with the full time-out.
[[gnu::noinline]] mach_msg_return_t begin_again(requests::message message,
                                                mach_msg_return_t result) {
  for (;;) {
    if (result == MACH_RCV_INTERRUPTED && !(message.option & MACH_RCV_INTERRUPT)) {
      message.option &= ~MACH_SEND_MSG;
    } else if (result != MACH_SEND_INTERRUPTED || (message.option & MACH_SEND_INTERRUPT)) {
      return result;
    }
    any_reply reply;
    make_call_inline(any_request(message, MACH_PORT_NULL), reply);
    result = reply.result;
  }
}

inline mach_msg_return_t pass_message(const requests::message& message, any_reply& reply) {
  const any_request request(message, MACH_PORT_NULL);
  make_call_inline(request, reply);
  return reply.result == MACH_MSG_SUCCESS
             ? MACH_MSG_SUCCESS
             : begin_again(request.as<requests::message>(), reply.result);
}
inline mach_msg_return_t pass_message(const requests::message& message) {
  any_reply reply;
  return pass_message(message, reply);
}

kedge::mach::kernel::user_address address(const void* of) noexcept {
  return reinterpret_cast<std::uintptr_t>(of);
}

}  // namespace

namespace kedge::mach::kernel {

sending send(mach_msg_header_t* message, mach_msg_option_t options, mach_msg_size_t size) noexcept {
  any_reply reply;
  const mach_msg_return_t code = pass_message({.option = MACH_SEND_MSG | options,
                                               .send_size = size,
                                               .receive_size = 0,
                                               .receive_name = MACH_PORT_NULL,
                                               .timeout = MACH_MSG_TIMEOUT_NONE,
                                               .notify = MACH_PORT_NULL,
                                               .send = address(message),
                                               .receive = address(message)},
                                              reply);
  return {code, reply.as<replies::message>().awakened};
}

receiving receive(mach_msg_header_t* buffer, mach_msg_option_t options, mach_msg_size_t size,
                  mach_port_name_t from) noexcept {
  any_reply reply;
  const mach_msg_return_t code = pass_message({.option = MACH_RCV_MSG | options,
                                               .send_size = 0,
                                               .receive_size = size,
                                               .receive_name = from,
                                               .timeout = MACH_MSG_TIMEOUT_NONE,
                                               .notify = MACH_PORT_NULL,
                                               .send = address(buffer),
                                               .receive = address(buffer)},
                                              reply);
  return {code, reply.as<replies::message>().emptied != 0};
}

}  // namespace kedge::mach::kernel

extern "C" {

const security_token_t KERNEL_SECURITY_TOKEN = KERNEL_SECURITY_TOKEN_VALUE;
const audit_token_t KERNEL_AUDIT_TOKEN = KERNEL_AUDIT_TOKEN_VALUE;

mach_msg_return_t mach_msg(mach_msg_header_t* msg, mach_msg_option_t option,
                           mach_msg_size_t send_size, mach_msg_size_t rcv_size,
                           mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                           mach_port_name_t notify) {
  return pass_message({.option = option,
                       .send_size = send_size,
                       .receive_size = rcv_size,
                       .receive_name = rcv_name,
                       .timeout = timeout,
                       .notify = notify,
                       .send = address(msg),
                       .receive = address(msg)});
}

mach_msg_return_t mach_msg_overwrite(mach_msg_header_t* msg, mach_msg_option_t option,
                                     mach_msg_size_t send_size, mach_msg_size_t rcv_size,
                                     mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                                     mach_port_name_t notify, mach_msg_header_t* rcv_msg,
                                     mach_msg_size_t) {
  return pass_message({.option = option,
                       .send_size = send_size,
                       .receive_size = rcv_size,
                       .receive_name = rcv_name,
                       .timeout = timeout,
                       .notify = notify,
                       .send = address(msg),
                       .receive = address(rcv_msg ? rcv_msg : msg)});
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
  release(header->msgh_voucher_port, MACH_MSGH_BITS_VOUCHER(bits));
  if (!MACH_MSGH_BITS_IS_COMPLEX(bits)) return;
  const char* at = reinterpret_cast<const char*>(header) + sizeof(mach_msg_header_t);
  mach_msg_size_t left = read<mach_msg_body_t>(at).msgh_descriptor_count;
  while (left > 0 && release_descriptor(at)) --left;
}

}  // extern "C"
