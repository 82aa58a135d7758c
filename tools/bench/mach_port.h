// mach_port: a port of this task, with messages of 64 bytes to it and from it, by <mach/mach.h>.
//
// A call that fails throws std::runtime_error.
#pragma once

#include <mach/mach.h>

#include <cstdint>
#include <stdexcept>

inline void throw_if_failed(kern_return_t result) {
  if (result != KERN_SUCCESS) throw std::runtime_error(mach_error_string(result));
}

class mach_port {
 public:
  mach_port() {
    throw_if_failed(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &name));
    throw_if_failed(mach_port_insert_right(mach_task_self(), name, name, MACH_MSG_TYPE_MAKE_SEND));
    mach_port_limits_t most{MACH_PORT_QLIMIT_MAX};
    throw_if_failed(mach_port_set_attributes(mach_task_self(), name, MACH_PORT_LIMITS_INFO,
                                             reinterpret_cast<mach_port_info_t>(&most),
                                             MACH_PORT_LIMITS_INFO_COUNT));
    message_.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0u);
    message_.header.msgh_remote_port = name;
  }
  ~mach_port() { mach_port_destruct(mach_task_self(), name, -1, 0); }
  mach_port(const mach_port&) = delete;
  mach_port& operator=(const mach_port&) = delete;

  void send() {
    throw_if_failed(mach_msg(&message_.header, MACH_SEND_MSG, sizeof message_, 0, MACH_PORT_NULL,
                             MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL));
  }
  void receive() {
    received got;
    throw_if_failed(mach_msg(&got.message.header, MACH_RCV_MSG, 0, sizeof got, name,
                             MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL));
  }

  mach_port_name_t name = MACH_PORT_NULL;  // of the receive right and a send right

 private:
  struct packet {
    mach_msg_header_t header;
    std::uint32_t body[10];
  };
  static_assert(sizeof(packet) == 64);
  struct received {
    packet message;
    mach_msg_max_trailer_t trailer;
  };

  packet message_{};
};
