// pending_call: a call in progress that may wait: mach_msg, or a wait for a semaphore.
//
// Ownership: the caller owns it and keeps it alive until the call is done. While the call waits,
// the pending_call is in one queue of a port, a set or a semaphore, where the core finds it.
// Threads: the core never blocks. It *parks* the pending_call. The thread that brings the message,
// the room or the signal completes it and calls wake(). The binding blocks the caller's thread as
// it likes, then continues by kernel::resume, or gives up by kernel::cancel.
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

  // Called exactly once after each completion, on the thread that completed the call, with no lock
  // held. After it the core does not touch the pending_call until the call is parked again. Must
  // not call the kernel.
  virtual void wake() noexcept = 0;

  // How long a parked call waits, in nanoseconds from the moment it was parked. The time-out of
  // mach_msg starts again for each half.
  std::uint64_t limit() const noexcept {
    const bool limited = stage == phase::send      ? (option & MACH_SEND_TIMEOUT) != 0
                         : stage == phase::receive ? (option & MACH_RCV_TIMEOUT) != 0
                                                   : true;
    return limited ? timeout : forever;
  }
  static constexpr std::uint64_t forever = ~std::uint64_t{0};

  bool sending() const noexcept { return stage == phase::send; }

 protected:
  pending_call() = default;
  ~pending_call() = default;

 public:
  // The members below belong to the core.
  enum class phase : std::uint8_t { send, receive, semaphore };
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

  // The progress of the call. The lock of `waits_on` guards `progress`, `message` and `outcome`
  // while the call is parked.
  phase stage = phase::send;
  state progress = state::idle;
  kmsg* message = nullptr;  // to be sent; or received and not yet copied out
  mach_msg_return_t outcome = MACH_MSG_SUCCESS;
  mach_msg_size_t needed_size;  // of a message that was too large
  mach_port_name_t identity;    // the port that holds that message
  std::uint64_t task = 0;       // id of the caller that waits for a semaphore
  ref<object> waits_on;
  base::list_link<pending_call> queue;   // of the waiters of `waits_on`
  base::list_link<pending_call> parked;  // of the task's parked calls
  pending_call* next_to_wake = nullptr;
};

using waiters = base::list<pending_call, &pending_call::queue>;

// The queue that the parked call is in. Requires the lock of `parked.waits_on`.
waiters& queue_of(pending_call& parked) noexcept;

// Takes the call out of its queue. Returns false if it was completed concurrently. Takes the lock
// of `parked.waits_on`.
bool withdraw(pending_call& parked) noexcept;

// Ends the wait of a call that is not in a queue any more. `cleanup` wakes it. Requires the lock of
// the object that the call waited on.
void complete(pending_call& waiting, kern_return_t outcome, deferred_work& cleanup) noexcept;
// The same for all calls of a queue, which is empty afterwards.
void complete_all(waiters& queue, kern_return_t outcome, deferred_work& cleanup) noexcept;

}  // namespace kedge::mach::kernel
