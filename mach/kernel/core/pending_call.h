// A call in progress that may wait: mach_msg, or a wait for a semaphore. The caller owns it and
// keeps it alive until the call is over; while the call waits it stands in one queue of a port, a
// set or a semaphore, which is how the core finds it. The core never blocks: it *parks* the
// pending_call, and whoever brings what it waits for completes it and calls wake(). The caller (the
// binding) blocks its thread as it likes and then goes on by kernel::resume, or gives up by
// kernel::cancel.
#pragma once

#include <mach/message.h>

#include <cstdint>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/runtime/base/list.h"

namespace kedge::mach::kernel {

class deferred_work;

class pending_call {
 public:
  pending_call(const pending_call&) = delete;
  pending_call& operator=(const pending_call&) = delete;

  // Called exactly once after each completion, on the thread that caused it, with no lock held.
  // After it the core does not touch the pending_call until it is parked again. Must not call the
  // kernel.
  virtual void wake() noexcept = 0;

  // How long a call that has been parked waits, in nanoseconds from then. The time-out of mach_msg
  // runs anew for each half.
  std::uint64_t limit() const noexcept {
    const bool limited = stage == stage::send      ? (option & MACH_SEND_TIMEOUT) != 0
                         : stage == stage::receive ? (option & MACH_RCV_TIMEOUT) != 0
                                                   : true;
    return limited ? timeout : forever;
  }
  static constexpr std::uint64_t forever = ~std::uint64_t{0};

  bool sending() const noexcept { return stage == stage::send; }

 protected:
  pending_call() = default;
  ~pending_call() = default;

 public:
  // The rest is the core's.
  enum class stage : std::uint8_t { send, receive, semaphore };
  enum class state : std::uint8_t { idle, parked, completed };

  // What the call asked for; written when it begins.
  std::uint64_t timeout = forever;  // nanoseconds, for a stage that is limited
  mach_msg_option_t option;
  mach_msg_size_t send_size;
  mach_msg_size_t receive_size;
  mach_port_name_t receive_name;
  user_address send_buffer;
  user_address receive_buffer;
  bool poll_send;  // fail instead of waiting
  bool poll_receive;

  // Where it stands. `progress`, `message` and `outcome` are guarded by the lock of `waits_on`
  // while parked.
  enum stage stage = stage::send;
  enum state progress = state::idle;
  kmsg* message = nullptr;  // to be sent; or received, not yet copied out
  mach_msg_return_t outcome = MACH_MSG_SUCCESS;
  mach_msg_size_t needed_size;  // of a message that was too large
  mach_port_name_t identity;    // the port it is queued at
  std::uint64_t task = 0;       // id of the caller that waits for a semaphore
  ref<object> waits_on;
  base::list_link<pending_call> queue;   // of the waiters of what it waits on
  base::list_link<pending_call> parked;  // of the task's parked tickets
  pending_call* next_to_wake = nullptr;
};

using waiters = base::list<pending_call, &pending_call::queue>;

// The queue in which a parked pending_call stands. What it waits on is locked.
waiters& queue_of(pending_call& parked) noexcept;

// Takes the pending_call out of its queue. False: it has been completed meanwhile.
bool withdraw(pending_call& parked) noexcept;

// The wait is over: whoever waits will be woken. The pending_call stands in no queue any more; what
// it waited on is locked.
void complete(pending_call& waiting, kern_return_t outcome, deferred_work& after) noexcept;

}  // namespace kedge::mach::kernel
