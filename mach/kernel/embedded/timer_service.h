// timer_service: the timers of mk_timer_create(), each a port that receives a message when it
// expires (Darwin: mk_timer.c).
//
// A thread of its own sends the messages. It starts when the first timer is armed, and it blocks
// all signals. It does not read a clock that the program has put in place of the machine's
// (clock.h): by that clock the thread that moves it sends the messages, and the thread that arms a
// timer for a time that has passed. Messages are sent in the order of their times, and for one time
// in the order in which the timers were armed. Arming a timer takes the memory of its message, so
// that none is lost when memory is short. A fork's child has no timers.
//
// Threads: any.
#pragma once

#include <mach/kern_return.h>
#include <mach/port.h>

#include <compare>
#include <cstdint>
#include <map>
#include <mutex>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/embedded/futex_call.h"

namespace kedge::mach::kernel {

class timer_service;

// Orders the timers that are armed.
struct due_time {
  std::uint64_t deadline = 0;  // 0: the timer is not armed
  std::uint64_t order = 0;     // how many timers were armed before

  friend auto operator<=>(const due_time&, const due_time&) = default;
};

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
  port* port_ = nullptr;     // null once the port is destroyed
  kmsg* message_ = nullptr;  // for the next expiry; there is one while the timer is armed
  due_time due_;
  // What the port's taken() is once the timer's last message is taken. Guarded by the port's lock.
  std::uint32_t taken_with_last_ = 0;
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
  // Returns when the next timer is due; the largest value: none is armed.
  std::uint64_t next_due() noexcept;
  // Sends the messages of all timers that are due by the program's clock. Has no effect while the
  // clock is the machine's. No lock may be held.
  void expire_by_program() noexcept;

 private:
  friend class timer;
  static constexpr std::uint64_t unarmed = 0;

  // The message of a timer that is due, which is no longer the timer's. No port: no timer is due.
  struct expiry {
    ref<port> to;
    kmsg* message = nullptr;
  };

  void end(timer& dead, deferred_work& cleanup) noexcept;
  std::uint64_t disarm(timer& of) noexcept;
  bool start_thread() noexcept;
  static void* run_thread(void* service) noexcept;
  kern_return_t set_deadline(timer& of, std::uint64_t deadline);
  void expire_due(bool by_program) noexcept;
  bool is_idle() noexcept;
  expiry take_due(std::uint64_t now, bool by_program) noexcept;
  std::uint64_t find_next() noexcept;
  static bool is_last_queued(const timer& of, const port& at) noexcept;
  void send(const expiry& due) noexcept;
  static bool post_expiry(port& to, kmsg* message, deferred_work& cleanup) noexcept;

  kernel& kernel_;
  // Not base::mutex: under `lock_` a thread is made.
  std::mutex sending_;  // held while due messages are sent, so that they keep their order
  std::mutex lock_;     // after `sending_`
  std::map<due_time, timer*> armed_;
  std::uint64_t armed_count_ = 0;
  std::uint64_t wakes_at_ = 0;  // until when the thread waits at most
  bool has_thread_ = false;
  futex_call waiting_;
};

}  // namespace kedge::mach::kernel
