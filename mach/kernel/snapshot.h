// snapshot: all tasks, rights, ports, messages and port sets of the kernel at one moment. Shows
// which task leaks or holds a right, and where a message is stuck.
// leaks_since(): the rights that have come since a snapshot, for the end of a test.
//
// The snapshot is atomic: no call is in progress while it is taken. Its order is fixed: tasks by
// their ids, names by their indices, ports and sets in the order in which the names lead to them.
//
// Darwin shows only the names of other processes, so take_snapshot() is empty there.
#pragma once

#include <mach/mach.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kedge/mach/kernel/extension.h"

namespace kedge::mach::kernel {

struct snapshot {
  // Numbers the ports and sets of this snapshot from 1. 0 means none.
  using number = std::uint32_t;

  struct right {
    mach_port_name_t name = MACH_PORT_NULL;
    mach_port_type_t type = MACH_PORT_TYPE_NONE;  // with MACH_PORT_TYPE_*REQUEST* if one is armed
    mach_port_urefs_t references = 0;             // user references to send rights or a dead name
    number of = 0;                                // the port or set; 0 for a dead name
    number notify = 0;  // the port that gets the dead-name or send-possible notification
  };
  struct space {
    task owner;
    std::vector<right> rights;
  };
  struct message {
    mach_msg_id_t id = 0;
    mach_msg_size_t size = 0;  // bytes, without the trailer
  };
  struct port {
    number id = 0;
    std::string serves;  // the kernel object behind the port: "task", "host" ...; else empty
    task receiver;       // the owner of `name`
    // The receive right. Null if it is in a message, is the kernel's, or is destroyed.
    mach_port_name_t name = MACH_PORT_NULL;
    bool alive = true;
    bool guarded = false;
    mach_port_context_t context = 0;
    std::uint32_t queue_limit = 0;
    std::uint32_t send_rights = 0;  // held by names and messages
    std::uint32_t send_once_rights = 0;
    std::uint32_t make_send_count = 0;
    std::uint32_t sequence_number = 0;
    number no_senders = 0;      // the port that gets the no-senders notification
    number port_destroyed = 0;  // the port that gets the port-destroyed notification
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

// Says by the context of a guarded port what it is for, if a library keeps it for itself
// (kedge/mach/pooled_port.h has such a function). Null for other ports.
using port_purpose = const char* (*)(mach_port_context_t context) noexcept;

// A right that a task has, and did not have before.
struct leak {
  task owner;
  snapshot::right right;                    // as it is now
  mach_port_urefs_t references_before = 0;  // 0: the name had none
};

#if defined(__APPLE__)

inline snapshot take_snapshot() {
  return {};
}
inline std::string to_string(const snapshot&, port_purpose = nullptr) {
  return {};
}
inline std::vector<leak> leaks_between(const snapshot&, const snapshot&, port_purpose = nullptr) {
  return {};
}
inline std::vector<leak> leaks_since(const snapshot&, port_purpose = nullptr) {
  return {};
}
inline std::string to_string(const std::vector<leak>&) {
  return {};
}

#else

// Takes a snapshot. May be called from any thread. Blocks all other calls into the kernel until it
// is done. Throws std::bad_alloc.
snapshot take_snapshot();

// Formats a snapshot, with one line for each task, right, port, message and set, and with what
// `purpose` says of a port. Throws std::bad_alloc.
std::string to_string(const snapshot& of, port_purpose purpose = nullptr);

// Returns the rights of all tasks that `after` has and `before` has not: new names, new kinds of
// right under a name, and more user references. Receive rights of ports for which `kept` has a
// purpose are left out. A name that was freed and given to another right in between is taken for
// the same. Throws std::bad_alloc.
std::vector<leak> leaks_between(const snapshot& before, const snapshot& after,
                                port_purpose kept = nullptr);
// The same, with a snapshot of now.
std::vector<leak> leaks_since(const snapshot& before, port_purpose kept = nullptr);
// A line each, as a snapshot has it. Throws std::bad_alloc.
std::string to_string(const std::vector<leak>& leaks);

#endif

}  // namespace kedge::mach::kernel
