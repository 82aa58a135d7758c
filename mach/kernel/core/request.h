// A call as plain data: what crosses the boundary between a caller and the kernel, wherever the
// kernel runs. Memory of the caller is named by address and reached through copyio.
#pragma once

#include <mach/message.h>

#include <array>
#include <cstdint>

#include "kedge/mach/kernel/core/guard_violation.h"

namespace kedge::mach::kernel {

// After each call: its words in order; after the arrow those of the reply. `@` is an address in the
// caller's memory.
enum class call_number : std::uint32_t {
  message,         // option, send size, receive size, receive name, ms, notify, @send, @receive
  reply_port,      // -> name
  self,            // reserved name -> name, with one user reference more
  names,           // @names, @types, room (elements) -> count; copied only if all fit
  type,            // name -> type
  allocate,        // right -> name
  construct,       // flags, queue limit, context, service port's name -> name
  destruct,        // name, send delta, guard
  destroy,         // name
  deallocate,      // name
  get_refs,        // name, right -> references
  mod_refs,        // name, right, delta
  insert_right,    // name, right's name, disposition
  extract_right,   // name, disposition -> name, disposition
  move_member,     // member, set or null
  insert_member,   // member, set
  extract_member,  // member, set
  get_set_status,  // set, @names, room -> count; copied only if all fit
  request_notification,     // name, id, sync, notify, disposition -> previous
  get_attributes,           // name, flavor, @info, room (words) -> count
  set_attributes,           // name, flavor, @info, count
  set_mscount,              // name, count
  set_seqno,                // name, seqno
  get_context,              // name -> context
  set_context,              // name, context
  guard,                    // name, guard, MPG_* flags
  unguard,                  // name, guard
  swap_guard,               // name, old, new
  semaphore_create,         // policy, value -> name
  semaphore_destroy,        // name
  semaphore_signal,         // name
  semaphore_signal_all,     // name
  semaphore_signal_thread,  // name, thread or null
  semaphore_wait,           // name, ns or all ones
  semaphore_wait_signal,    // name, ns or all ones, name to signal
  get_srights,              // name -> count
  peek,        // name, trailer elements, seqno, @trailer, room -> seqno and size, id and trailer
               // size (32 bits each)
  rename,      // name, name
  check_task,  // whether the target is a task
  get_special_port,  // which -> name
  set_special_port,  // which, name
  register_ports,    // three names
  look_up_ports,     // -> names: the first, and in the upper half the second; the third
  // The target is the bootstrap port; @ and length of a service's name come first.
  bootstrap_check_in,        // -> name
  bootstrap_look_up,         // -> name
  bootstrap_create_service,  // -> name
  bootstrap_register,        // ..., name
  bootstrap_status,          // -> status
  voucher_create,            // host, @recipes, bytes -> name
  fileport_make,             // descriptor, the kernel's from here on -> name
  fileport_open,             // name -> descriptor, or -errno
  memory_entry_make,   // descriptor, the kernel's from here on, offset, size, permission -> name
  memory_entry_open,   // name -> descriptor, or -errno; permission
  memory_entry_range,  // name -> offset, size
  task_create,         // first index of ordered names, or 0 for shuffled ones -> id
  task_terminate,      // id
  task_self_port,      // id -> name
  task_set_guards,     // id, guard_policy::behaviour
  task_take_guard,     // id -> code and name (32 bits each), subcode; KERN_FAILURE: none left
  task_limit_names,    // id, count
  snapshot,            // @, room (words) -> words (core/snapshot.h); copied if all fit
  set_profile,         // profile::os_version
  set_strict_replies,  // whether MACH_MSG_STRICT_REPLY is enforced
};

struct request {
  call_number call = call_number::message;
  // The first argument of mach_port_*: whose space is meant.
  mach_port_name_t target = MACH_PORT_NULL;
  std::uint64_t task = 0;  // id of the task that calls
  std::array<std::uint64_t, 8> words{};
};

struct reply {
  kern_return_t result = KERN_SUCCESS;
  guard_violation guard;
  std::array<std::uint64_t, 2> words{};
};

}  // namespace kedge::mach::kernel
