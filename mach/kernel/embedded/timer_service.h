// timer_service: the timers of mk_timer_create(), each a port that receives a message when it
// expires (Darwin: mk_timer.c).
//
// A thread of its own sends the messages. It starts when the first timer is armed, and it blocks
// all signals. It waits as any call does (futex_call), by the same clock. A fork's child has no
// timers.
//
// Threads: any.
#pragma once

#include <mach/kern_return.h>
#include <mach/port.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/embedded/futex_call.h"

namespace kedge::mach::kernel {

class timer_service {
 public:
  explicit timer_service(kernel& whole) noexcept : kernel_(whole) {}
  timer_service(const timer_service&) = delete;
  timer_service& operator=(const timer_service&) = delete;

  // Makes a port, whose receive right the caller gets, and which cannot be moved. KERN_NO_SPACE.
  // Throws std::bad_alloc.
  kern_return_t create(ipc_task& caller, copyio& memory, mach_port_name_t& name);
  // Destroys the port. KERN_INVALID_NAME, KERN_INVALID_RIGHT: not a receive right.
  // KERN_INVALID_ARGUMENT: not a timer's.
  kern_return_t destroy(ipc_task& caller, copyio& memory, mach_port_name_t name);
  // Errors as of destroy(), and KERN_RESOURCE_SHORTAGE. Throws std::bad_alloc.
  kern_return_t arm(ipc_task& caller, mach_port_name_t name, std::uint64_t deadline);
  // Sets `deadline` to when the timer would have expired; 0 if it was not armed.
  kern_return_t cancel(ipc_task& caller, mach_port_name_t name, std::uint64_t& deadline);

 private:
  static constexpr std::uint64_t unarmed = 0;

  kern_return_t find(ipc_task& caller, mach_port_name_t name, ref<port>& found);
  bool start_thread() noexcept;
  static void* run_thread(void* service) noexcept;
  std::uint64_t take_due(std::vector<ref<port>>& due);
  void send_expiry(port& to);
  void sweep(deferred_work& cleanup);
  void disarm(port* timer, std::uint64_t& deadline);

  kernel& kernel_;
  std::mutex lock_;
  // The deadline of each timer, by its port, of which the service holds a send right.
  std::map<port*, std::uint64_t> timers_;
  std::set<std::pair<std::uint64_t, port*>> armed_;  // the first is due first
  std::size_t sweep_threshold_ = 32;
  bool has_thread_ = false;
  futex_call waiting_;
};

}  // namespace kedge::mach::kernel
