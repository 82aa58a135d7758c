// kernel: all tasks and what they share.
//
// It blocks no thread, reads no clock, and knows no process. A binding connects it to callers: it
// brings their memory (copyio), their identity and the seed of names, and it does the waiting
// (pending_call).
//
// Threads: any thread may make any call, unless its comment says otherwise.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/fault_points.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/mach/kernel/core/name_server.h"
#include "kedge/mach/kernel/core/pending_call.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/profile.h"
#include "kedge/mach/kernel/core/request.h"
#include "kedge/mach/kernel/core/space_lock.h"
#include "kedge/mach/kernel/core/transit.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

// How far a call is: `done` means that its reply is written, `parked` that it will be woken.
enum class status { done, parked };

// Why a caller gives up waiting.
enum class give_up { timed_out, interrupted };

class semaphore_call;

class kernel {
 public:
  kernel();
  ~kernel();
  kernel(const kernel&) = delete;
  kernel& operator=(const kernel&) = delete;

  // A new task, with a reference for the caller. Throws std::bad_alloc. Ids start at
  // `first_task_id` and are not used again. A task inherits the special ports of its parent, if it
  // has one.
  ref<ipc_task> create_task(const name_policy& names, const identity& sender, ipc_task* parent);
  // Returns null if there is no task of this id, or it has been terminated.
  ref<ipc_task> find_task(std::uint64_t id) noexcept;
  void terminate_task(ipc_task& ending);
  // All tasks that have not been terminated, in the order of their ids.
  std::vector<ref<ipc_task>> tasks();
  // Makes a send right to the port and puts it into the caller's space. KERN_NO_SPACE.
  kern_return_t name_send_right(ipc_task& caller, port& to, mach_port_name_t& name);
  // Puts the receive right of a new port into the caller's space. KERN_NO_SPACE: the port is
  // destroyed.
  kern_return_t name_receive_right(ipc_task& caller, ref<port> fresh, mach_port_name_t& name);
  // Returns the kernel object behind the send right `name`, or null if `name` is not a send right
  // or its port serves a different kind.
  ref<object> find_served(ipc_task& caller, mach_port_name_t name, kernel_object kind) noexcept;

  // Returns the number of a port, which no other of this kernel has: the next one when it is asked
  // for first. Numbers start at 1.
  std::uint32_t number_of(port& of) noexcept;

  // Begins a call. `waiting` is used by the calls that may wait. It must live until the call is
  // done. The calls on files, tasks and the kernel itself (the last group of call_number) are the
  // binding's.
  status begin(ipc_task& caller, const any_request& request, any_reply& reply, copyio& memory,
               pending_call& waiting);
  // Continues a parked call after its wake().
  status resume(ipc_task& caller, pending_call& woken, any_reply& reply, copyio& memory);
  // Gives up waiting. Returns true if the call is done and its reply written. Returns false if it
  // has been completed concurrently: then await wake(), and resume().
  bool cancel(ipc_task& caller, pending_call& waiting, give_up why, any_reply& reply,
              copyio& memory);

  // Watches a receive right or a set. KERN_INVALID_NAME (no such name, or a dead one),
  // KERN_INVALID_RIGHT. Puts the object into `at`: it stays the same one whatever happens to the
  // name.
  kern_return_t attach(ipc_task& caller, mach_port_name_t name, watch& by, ref<object>& at);
  static void detach(watch& by, object& at) noexcept;
  // Returns the name of a port with a queued message: the watched port's, or that of a member of
  // the watched set. MACH_PORT_NULL: no message is queued.
  static mach_port_name_t peek(object& at) noexcept;
  // Receives from a watched object without waiting, by option, buffer and size of the request. The
  // reply is replies::message.
  void receive_from(ipc_task& caller, object& at, const requests::message& request,
                    any_reply& reply, copyio& memory, pending_call& unused);

  // The parts.
  kmsg_pool& messages() noexcept { return pools_[0]; }
  // The pool for the thread on whose stack the address `own` is.
  kmsg_pool& messages(const void* own) noexcept { return pools_[shard_of_stack(own)]; }
  transit& rights_in_transit() noexcept { return transit_; }
  // Changed only while no call is in progress.
  profile& os_profile() noexcept { return profile_; }
  name_server& names() noexcept { return names_; }
  port& host_port() noexcept { return *host_port_; }
  // Whether MACH_MSG_STRICT_REPLY is enforced, as by Darwin's boot argument ipc_strict_reply. The
  // default is that it is not. Changed only while no call is in progress.
  bool& strict_replies() noexcept { return strict_replies_; }
  fault_points& faults() noexcept { return faults_; }

  // Ends the task that receives from the port, if the plan of faults says so. The caller's own task
  // and the kernel's first one, which is the process's own, never end so. No lock may be held.
  void end_receiver(port& of, ipc_task& caller, fault_point at);

  static constexpr std::uint64_t first_task_id = 1;

 private:
  kern_return_t call_nonblocking(ipc_task& caller, const any_request& request, any_reply& reply,
                                 copyio& memory, deferred_work& cleanup,
                                 semaphore_call& of_semaphore);
  ref<ipc_task> find_mortal_receiver(port& of, const ipc_task& caller);

  fault_points faults_;
  std::array<kmsg_pool, stack_shards> pools_;
  transit transit_;
  profile profile_ = profile::os_version::macos15;
  bool strict_replies_ = false;
  ref<port> host_port_;
  ref<port> bootstrap_port_;
  name_server names_;
  base::mutex tasks_lock_;
  std::map<std::uint64_t, ref<ipc_task>> tasks_;
  std::uint64_t next_task_id_ = first_task_id;
  base::mutex numbers_lock_;
  std::uint32_t last_number_ = 0;
};

}  // namespace kedge::mach::kernel
