#include "benchmark.h"
#include "mach_port.h"

namespace {

struct right_message {
  mach_msg_header_t header;
  mach_msg_body_t body;
  mach_msg_port_descriptor_t right;
  std::uint32_t rest[6];
};
static_assert(sizeof(right_message) == 64);

struct received_right {
  right_message message;
  mach_msg_max_trailer_t trailer;
};

}  // namespace

// Each message moves the same send right, which its receipt returns, so that no right accumulates.
void send_rights(std::uint64_t n) {
  const mach_port port;
  mach_port_t right = MACH_PORT_NULL;
  const mach_port carried;
  mach_msg_type_name_t type = 0;
  throw_if_failed(mach_port_extract_right(mach_task_self(), carried.name, MACH_MSG_TYPE_MAKE_SEND,
                                          &right, &type));
  right_message sent{};
  sent.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0u) | MACH_MSGH_BITS_COMPLEX;
  sent.header.msgh_remote_port = port.name;
  sent.body.msgh_descriptor_count = 1;
  sent.right.disposition = MACH_MSG_TYPE_MOVE_SEND;
  sent.right.type = MACH_MSG_PORT_DESCRIPTOR;
  for (std::uint64_t i = 0; i < n; ++i) {
    sent.right.name = right;
    throw_if_failed(mach_msg(&sent.header, MACH_SEND_MSG, sizeof sent, 0, MACH_PORT_NULL,
                             MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL));
    received_right got;
    throw_if_failed(mach_msg(&got.message.header, MACH_RCV_MSG, 0, sizeof got, port.name,
                             MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL));
    right = got.message.right.name;
  }
  throw_if_failed(mach_port_deallocate(mach_task_self(), right));
}
