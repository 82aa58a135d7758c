// message_call: one call of mach_msg (Darwin: mach_msg.c, ipc_kmsg.c, ipc_mqueue.c). The request is
// in the pending_call.
//
// Files: message_call.cc (the course of a call), message_send.cc, message_receive.cc,
// message_body.cc (descriptors). plain_message.h is the fast path.
#pragma once

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/pending_call.h"
#include "kedge/mach/kernel/core/request.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {

// The size of a queued message as mach_port_peek reports it: inside Darwin's kernel a header takes
// 32 bytes, not 24, and a port descriptor 16, not 12.
mach_msg_size_t size_inside(kmsg& message) noexcept;

class message_call {
 public:
  message_call(ipc_task& caller, pending_call& state, any_reply& reply, copyio& memory,
               deferred_work& cleanup) noexcept
      : caller_(caller), state_(state), reply_(reply), memory_(memory), cleanup_(cleanup) {}

  // Each returns how far the call is. `done` means that the result of the reply is final.
  status begin();
  status resume();
  bool cancel(give_up why);
  // Receives from the object without waiting.
  void receive_from(object& from);

 private:
  status done(mach_msg_return_t result) noexcept {
    reply_.result = result;
    return status::done;
  }

  const faults_of_task& faults() const noexcept { return caller_.names.faults; }

  class body_copy_in;
  class body_copy_out;
  struct header_dispositions;

  // Sending.
  status send();
  void end_destination(const mach_msg_header_t& header);
  bool is_strict() const noexcept;
  mach_msg_return_t check_body(kmsg& message) noexcept;
  mach_msg_return_t check_header(mach_msg_header_t& header) noexcept;
  mach_msg_return_t invalid_voucher(const mach_msg_header_t& header) noexcept;
  bool is_reply_port(const mach_msg_header_t& header) noexcept;
  mach_msg_return_t copy_in_header(const right_context& context, kmsg& message);
  mach_msg_return_t check_ports(const right_context& context, kmsg& message,
                                header_dispositions& types);
  mach_msg_return_t copy_in_ports(const right_context& context, kmsg& message);
  mach_msg_return_t copy_in_rest(const right_context& context, kmsg& message);
  mach_msg_return_t copy_in_body(const right_context& context, kmsg& message);
  status post_or_park(kmsg* message);
  bool try_post(kmsg* message, status& now);
  bool try_park(kmsg* message, status& now);
  void serve(kmsg* message);  // the destination is the kernel's
  void arm_send_possible(port& to, const entry& held) noexcept;
  status destroy_unsent(kmsg* message, mach_msg_return_t result);
  status send_failed(kmsg* message, mach_msg_return_t why);  // pseudo-receive
  mach_msg_return_t return_header(kmsg& message);

  // Receiving.
  status receive();
  ref<object> find_receive() noexcept;
  void announce(object& from) noexcept;
  status end_receive(mach_msg_return_t result, kmsg* message);
  status receive_at(port& from);
  status receive_at(ipc_port_set& from);
  mach_msg_return_t take_from_member(port& member, ipc_port_set& from, kmsg*& message);
  bool too_large_stays(const kmsg& next, const port& from);
  status finish_receive(kmsg* message);
  void notify_of_room(port& from);
  mach_msg_return_t copy_out_header(kmsg& message, deferred_notifications& deferred);
  mach_msg_return_t deliver(kmsg* message);
  mach_msg_return_t discard_too_large(kmsg* message);
  mach_port_name_t lose(kmsg* message);
  mach_msg_return_t report_needed_size(mach_msg_size_t size, mach_port_name_t identity);
  // To the receiver, or back to the sender in a pseudo-receive. No lock may be held.
  mach_msg_return_t copy_out_body(kmsg& message, bool pseudo);
  mach_port_name_t copy_out_destination(kmsg& message, deferred_notifications& deferred);

  // Puts the call into a queue of the object that it waits on. Requires the lock of that object.
  status park(waiters& queue);

  ipc_task& caller_;
  pending_call& state_;
  any_reply& reply_;
  copyio& memory_;
  deferred_work& cleanup_;
  bool always_ = false;     // room was seen: the send must not time out
  bool announced_ = false;  // the task knows of the receive
};

}  // namespace kedge::mach::kernel
