// extension_requests: the requests of extension.h, which are about tasks and the kernel itself.
// They are plain data, as those in requests.h.
//
// An `id` in them is one that task_create has answered; a binding that serves several processes has
// to see that the caller's process has made that task.
#pragma once

#include <cstdint>

#include "kedge/mach/kernel/core/call_number.h"
#include "kedge/mach/kernel/core/replies.h"
#include "kedge/mach/kernel/core/requests.h"

namespace kedge::mach::kernel::requests {

struct task_create {
  static constexpr auto number = call_number::task_create;
  using reply = replies::task_create;
  std::uint64_t name_seed = 0;    // if `is_seeded`: of the shuffled names
  std::int32_t pid = 0;           // in the audit token; 0: the process's
  std::uint32_t pid_version = 0;  // likewise; 0: the next one
  std::uint32_t first_index = 0;  // of names in order; 0: shuffled names
  std::uint32_t is_seeded = 0;    // 0 or 1
};

struct task_terminate {
  static constexpr auto number = call_number::task_terminate;
  using reply = replies::nothing;
  std::uint64_t id;
};

struct task_self_port {
  static constexpr auto number = call_number::task_self_port;
  using reply = replies::task_self_port;
  std::uint64_t id;
};

// Copies a send right of the caller into the task `id`. KERN_TERMINATED: there is no such task.
// KERN_INVALID_NAME, KERN_INVALID_RIGHT: the name is not a live send right.
struct task_place_right {
  static constexpr auto number = call_number::task_place_right;
  using reply = replies::task_place_right;
  std::uint64_t id;
  mach_port_name_t right;
  std::uint32_t reserved = 0;
};

struct task_set_guards {
  static constexpr auto number = call_number::task_set_guards;
  using reply = replies::nothing;
  std::uint64_t id;
  std::uint32_t behaviour;  // guard_policy::behaviour
  std::uint32_t reserved = 0;
};

// KERN_FAILURE: none is left.
struct task_take_guard {
  static constexpr auto number = call_number::task_take_guard;
  using reply = replies::task_take_guard;
  std::uint64_t id;
};

struct task_limit_names {
  static constexpr auto number = call_number::task_limit_names;
  using reply = replies::nothing;
  std::uint64_t id;
  std::uint32_t count;
  std::uint32_t reserved = 0;
};

// KERN_TERMINATED: there is no such task. KERN_INVALID_NAME: the name stands for no port.
struct task_port_number {
  static constexpr auto number = call_number::task_port_number;
  using reply = replies::task_port_number;
  std::uint64_t id;
  mach_port_name_t name;
  std::uint32_t reserved = 0;
};

struct next_timer {
  static constexpr auto number = call_number::next_timer;
  using reply = replies::next_timer;
};

// The form of a snapshot is core/calls/snapshot_call.h's.
struct snapshot {
  static constexpr auto number = call_number::snapshot;
  using reply = replies::snapshot;
  user_buffer words;  // size in words of 8 bytes
};

struct set_profile {
  static constexpr auto number = call_number::set_profile;
  using reply = replies::nothing;
  std::uint32_t version;  // profile::os_version
};

struct set_strict_replies {
  static constexpr auto number = call_number::set_strict_replies;
  using reply = replies::nothing;
  std::uint32_t enforced;  // 0 or 1: whether MACH_MSG_STRICT_REPLY is enforced
};

// Sets which fault points fail from now on (fault_points.h).
struct plan_faults {
  static constexpr auto number = call_number::plan_faults;
  using reply = replies::plan_faults;
  std::uint64_t nth;
  std::uint64_t seed;
  std::uint64_t id;  // of the task, if `of_task`
  std::uint32_t points;
  std::uint32_t one_in;
  std::uint32_t of_task;  // 0 or 1: only the calls of one task fail
  std::uint32_t reserved = 0;
};

}  // namespace kedge::mach::kernel::requests
