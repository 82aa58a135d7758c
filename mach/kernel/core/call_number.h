// call_number: which call a request is for. It is the index of the call's structs in the lists of
// requests and replies (request.h), so it also crosses the boundary to a kernel elsewhere: a new
// call is added at the end of its group only while both sides are always built together.
#pragma once

#include <cstdint>

namespace kedge::mach::kernel {

enum class call_number : std::uint32_t {
  message,
  reply_port,
  self,
  names,
  type,
  allocate,
  construct,
  destruct,
  destroy,
  deallocate,
  get_refs,
  mod_refs,
  insert_right,
  extract_right,
  move_member,
  insert_member,
  extract_member,
  get_set_status,
  request_notification,
  get_attributes,
  set_attributes,
  set_mscount,
  set_seqno,
  get_context,
  set_context,
  guard,
  unguard,
  swap_guard,
  // Those from semaphore_signal to semaphore_wait_signal have no task argument.
  semaphore_create,
  semaphore_destroy,
  semaphore_signal,
  semaphore_signal_all,
  semaphore_signal_thread,
  semaphore_wait,
  semaphore_wait_signal,
  get_srights,
  peek,
  rename,
  check_task,
  get_special_port,
  set_special_port,
  register_ports,
  look_up_ports,
  // The target of those from bootstrap_check_in to bootstrap_status is the bootstrap port.
  bootstrap_check_in,
  bootstrap_look_up,
  bootstrap_create_service,
  bootstrap_register,
  bootstrap_status,
  voucher_create,
  // The rest is the binding's: files, tasks, and the kernel itself.
  fileport_make,
  fileport_open,
  memory_entry_make,
  memory_entry_open,
  memory_entry_range,
  task_create,
  task_terminate,
  task_self_port,
  task_set_guards,
  task_take_guard,
  task_limit_names,
  snapshot,
  set_profile,
  set_strict_replies,
};

}  // namespace kedge::mach::kernel
