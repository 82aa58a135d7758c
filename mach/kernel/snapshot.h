// What there is in the kernel at one moment: the data behind a listing of ports, to find what
// leaks, who holds a right, and where a message is stuck. Everything is seen at once: no call is in
// the middle of changing anything meanwhile. The order is always the same: tasks by their ids,
// names by their indices, ports and sets in the order in which these lead to them.
//
// Darwin shows another process's names only; take_snapshot() is empty there.
#pragma once

#include <mach/mach.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kedge/mach/kernel/extension.h"

namespace kedge::mach::kernel {

struct snapshot {
  // Ports and sets are numbered from 1 on, for this snapshot; 0: none.
  using number = std::uint32_t;

  struct right {
    mach_port_name_t name = MACH_PORT_NULL;
    mach_port_type_t type = MACH_PORT_TYPE_NONE;  // MACH_PORT_TYPE_*REQUEST*, if one is armed
    mach_port_urefs_t references = 0;             // of the send rights, or of the dead name
    number of = 0;                                // 0: a dead name
    number notify = 0;                            // where the death of the name will be told
  };
  struct space {
    task owner;
    std::vector<right> rights;
  };
  struct message {
    mach_msg_id_t id = 0;
    mach_msg_size_t size = 0;  // without trailer
  };
  struct port {
    number id = 0;
    std::string serves;  // what the kernel receives for here: "task", "host" ...
    task receiver;       // if there is a name
    mach_port_name_t name = MACH_PORT_NULL;  // null: in a message, with the kernel, or gone
    bool alive = true;
    bool guarded = false;
    mach_port_context_t context = 0;
    std::uint32_t queue_limit = 0;
    std::uint32_t send_rights = 0;  // names and messages that hold one
    std::uint32_t send_once_rights = 0;
    std::uint32_t make_send_count = 0;
    std::uint32_t sequence_number = 0;
    number no_senders = 0;  // where these will be told
    number port_destroyed = 0;
    std::uint32_t waiting_receivers = 0;
    std::uint32_t waiting_senders = 0;
    std::uint32_t knotes = 0;
    std::vector<message> queue;  // the oldest first
  };
  struct set {
    number id = 0;
    task owner;
    mach_port_name_t name = MACH_PORT_NULL;
    std::uint32_t waiting_receivers = 0;
    std::uint32_t knotes = 0;
    std::vector<number> members;
  };

  std::vector<space> spaces;
  std::vector<port> ports;
  std::vector<set> sets;
};

#if defined(__APPLE__)

inline snapshot take_snapshot() {
  return {};
}
inline std::string to_string(const snapshot&) {
  return {};
}

#else

// From any thread; all other calls wait meanwhile. Throws std::bad_alloc.
snapshot take_snapshot();

// As text, a line for each task, right, port, message and set. Throws std::bad_alloc.
std::string to_string(const snapshot& of);

#endif

}  // namespace kedge::mach::kernel
