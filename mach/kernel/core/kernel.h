// The kernel: all tasks and what they share. It blocks no thread, reads no clock, and knows no
// process: whoever binds it to callers brings their memory (copyio), their identity, the seed of
// names, and does the waiting (pending_call).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "kedge/mach/kernel/core/copyio.h"
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

// How a call stands: done, its reply written; or parked, to be woken.
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
  // `first_task_id` and are not used again.
  // Special ports are inherited from the parent, if there is one.
  ref<ipc_task> create_task(const name_policy& names, const identity& who, ipc_task* parent);
  // Null if there is no such task, or no longer.
  ref<ipc_task> find_task(std::uint64_t id) noexcept;
  void terminate_task(ipc_task& ending);
  // Those that have not been ended, by their ids.
  std::vector<ref<ipc_task>> tasks();
  // A new send right to the port, for the caller: its name in answer.words[0]. KERN_NO_SPACE.
  kern_return_t name_send_right(ipc_task& caller, port& to, reply& answer);
  // What the port serves to which the name is a send right; null: it is none, or serves another
  // kind.
  ref<object> find_served(ipc_task& caller, mach_port_name_t name, kernel_object kind) noexcept;

  // Begins a call. `waiting` is used by those that may wait, and must live until the call is done.
  // The calls that make and end tasks are the binding's own: they need identities.
  status begin(ipc_task& caller, const request& what, reply& answer, copyio& memory,
               pending_call& waiting);
  // Goes on after a wake().
  status resume(ipc_task& caller, pending_call& woken, reply& answer, copyio& memory);
  // Gives up. True: the call is done, its reply written. False: it was completed meanwhile; await
  // wake(), then resume().
  bool cancel(ipc_task& caller, pending_call& waiting, give_up why, reply& answer, copyio& memory);

  // Watching a receive right or a set: KERN_INVALID_NAME (no such name, or a dead one),
  // KERN_INVALID_RIGHT. `at` is then the object, which stays the same whatever becomes of the name.
  kern_return_t attach(ipc_task& caller, mach_port_name_t name, watch& by, ref<object>& at);
  static void detach(watch& by, object& at) noexcept;
  // The name of a port with a message: the watched one, or a member of the watched set.
  // MACH_PORT_NULL: none has one.
  static mach_port_name_t peek(object& at) noexcept;
  // A receive without waiting from the watched object; writes the size of message and trailer to
  // answer.words[0].
  void receive_from(ipc_task& caller, object& at, mach_msg_option_t option, user_address buffer,
                    mach_msg_size_t size, reply& answer, copyio& memory, pending_call& unused);

  // The parts.
  kmsg_pool& messages() noexcept { return pools_[0]; }
  // The pool for a thread, of which `own` is an address on the stack.
  kmsg_pool& messages(const void* own) noexcept { return pools_[shard_of_stack(own)]; }
  class transit& transit() noexcept { return transit_; }
  // Changed only while no call is in progress.
  class profile& profile() noexcept { return profile_; }
  name_server& names() noexcept { return names_; }
  port& host_port() noexcept { return *host_port_; }
  // Whether MACH_MSG_STRICT_REPLY is enforced, as by Darwin's boot argument ipc_strict_reply; it is
  // not by default. Changed only while no call is in progress.
  bool& strict_replies() noexcept { return strict_replies_; }

  static constexpr std::uint64_t first_task_id = 1;

 private:
  kern_return_t call_at_once(ipc_task& caller, const request& what, reply& answer, copyio& memory,
                             deferred_work& after, semaphore_call& of_semaphore);

  std::array<kmsg_pool, stack_shards> pools_;
  class transit transit_;
  class profile profile_ = profile::os_version::macos15;
  bool strict_replies_ = false;
  ref<port> host_port_;
  ref<port> bootstrap_port_;
  name_server names_;
  base::mutex tasks_lock_;
  std::map<std::uint64_t, ref<ipc_task>> tasks_;
  std::uint64_t next_task_id_ = first_task_id;
};

}  // namespace kedge::mach::kernel
