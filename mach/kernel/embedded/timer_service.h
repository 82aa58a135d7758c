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
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/embedded/futex_call.h"

namespace kedge::mach::kernel {

class timer_service;

// What the port of a timer serves. It holds a send right to the port until the port is destroyed.
class timer final : public object {
 public:
  explicit timer(timer_service& service) noexcept : object(object_kind::timer), service_(service) {}

  void port_destroyed(deferred_work& cleanup) noexcept override;

 private:
  friend class timer_service;
  ~timer() override = default;

  timer_service& service_;
  // Guarded by the lock of the service.
  port* port_ = nullptr;  // null once the port is destroyed
  std::uint64_t deadline_ = 0;
};

class timer_service {
 public:
  explicit timer_service(kernel& whole) noexcept : kernel_(whole) {}
  timer_service(const timer_service&) = delete;
  timer_service& operator=(const timer_service&) = delete;

  // Makes a port and gives its receive right to the caller. The right cannot be moved.
  // KERN_NO_SPACE. Throws std::bad_alloc.
  kern_return_t create(ipc_task& caller, mach_port_name_t& name);
  // Destroys all rights of the name. KERN_INVALID_NAME, KERN_INVALID_RIGHT: not a receive right.
  // KERN_INVALID_ARGUMENT: not a timer's.
  kern_return_t destroy(ipc_task& caller, copyio& memory, mach_port_name_t name);
  // Errors as of destroy(), and KERN_RESOURCE_SHORTAGE. Throws std::bad_alloc.
  kern_return_t arm(ipc_task& caller, mach_port_name_t name, std::uint64_t deadline);
  // Sets `deadline` to when the timer would have expired, or to 0 if it was not armed. Errors as of
  // destroy().
  kern_return_t cancel(ipc_task& caller, mach_port_name_t name, std::uint64_t& deadline);

 private:
  friend class timer;
  static constexpr std::uint64_t unarmed = 0;

  void end(timer& dead, deferred_work& cleanup) noexcept;
  std::uint64_t disarm(timer& of) noexcept;
  bool start_thread() noexcept;
  static void* run_thread(void* service) noexcept;
  std::uint64_t take_due(std::vector<ref<port>>& due);
  void send_expiry(port& to);

  kernel& kernel_;
  std::mutex lock_;
  std::set<std::pair<std::uint64_t, timer*>> armed_;  // the first is due first
  bool has_thread_ = false;
  futex_call waiting_;
};

}  // namespace kedge::mach::kernel
