// A port: a queue of messages with one receive right and any number of send and send-once rights.
//
// Locks. A port's lock may be taken with a space's lock held, and a set's with a port's held; never
// the other way. Two ports are never locked together.
#pragma once

#include <mach/port.h>

#include <cstdint>
#include <utility>

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/membership.h"
#include "kedge/mach/kernel/core/message_queue.h"
#include "kedge/mach/kernel/core/name_request.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/pending_call.h"
#include "kedge/mach/kernel/core/watch.h"
#include "kedge/runtime/base/list.h"

namespace kedge::mach::kernel {

class space;

using watchers = base::list<watch, &watch::link>;

// What the kernel itself receives for.
enum class kernel_object : std::uint8_t {
  none,
  task,
  thread,
  host,
  bootstrap,
  semaphore,
  file,
  voucher,
  memory_entry,
};

class port final : public object {
 public:
  port() noexcept : object(object_kind::port) {}
  port(kernel_object served, std::uint64_t task) noexcept
      : object(object_kind::port), serves(served), served_task(task) {}

  port(kernel_object served, ref<object> what) noexcept
      : object(object_kind::port), serves(served), served_object(std::move(what)) {}

  const kernel_object serves = kernel_object::none;
  const std::uint64_t served_task = 0;  // id of the task, if it serves one
  const ref<object> served_object;      // what else it serves

  // Where the receive right is: in a space under a name; or, if `receiver` is null, in a message,
  // with the kernel, or gone.
  space* receiver = nullptr;
  mach_port_name_t receiver_name = MACH_PORT_NULL;
  // The port that the message with the receive right is bound for, with a reference. Guarded by
  // kernel::transit.
  port* destination = nullptr;

  std::uint32_t send_rights = 0;  // names and messages that hold one
  std::uint32_t send_once_rights = 0;
  std::uint32_t make_send_count = 0;
  std::uint32_t sequence = 0;  // messages taken
  std::uint32_t queue_limit = MACH_PORT_QLIMIT_DEFAULT;
  mach_port_context_t context = 0;
  bool guarded = false;
  bool strict_guard = false;
  bool immovable = false;  // the receive right must not be moved
  // What it was made for, for good. Of a reply port only send-once rights are made, as the reply
  // port of a message, and used as its destination; a provisional one is one by name only.
  bool reply = false;
  bool provisional_reply = false;
  bool wants_reply_port = false;  // messages to it must name one of these
  bool service = false;           // of a name server's
  bool throttled = false;         // as a service: remembered only
  bool immovable_send = false;    // send rights are for sending only
  bool temporary_owner = false;
  bool importance_donation = false;
  bool send_possible_armed = false;  // some request of `requests` is
  port* no_senders = nullptr;        // registered send-once rights
  port* port_destroyed = nullptr;
  request_table requests;

  waiters receivers;  // of this port alone; receivers of a set stand at the set
  waiters senders;    // in need of room
  watchers watches;
  base::list<membership, &membership::in_port> sets;

  local_queue& queue() noexcept { return queue_; }
  const local_queue& queue() const noexcept { return queue_; }
  bool full() const noexcept { return queue_.count() >= queue_limit; }
  // Whether anybody is to be told of a message: a receiver, a watch, a set.
  bool is_awaited() const noexcept {
    return !receivers.empty() || !watches.empty() || !sets.empty();
  }

 private:
  ~port() override = default;
  local_queue queue_;
};

// Hands the message to a receiver that waits, tells those who watch, or queues it.
void post_to_waiters(port& to, kmsg* message, deferred_work& after) noexcept;

// Queues the message, or hands it to a receiver that waits. Room was reserved. The port is locked
// and active; the message is the port's from here on.
inline void post(port& to, kmsg* message, deferred_work& after) noexcept {
  if (to.is_awaited()) return post_to_waiters(to, message, after);
  to.queue().commit(message);
}

// The port has no message left: no set has it among its ready members. It is locked.
void leave_ready(port& empty) noexcept;
// Blocked senders' messages take what room there is. The port is locked.
void admit_senders(port& to, deferred_work& after) noexcept;

// What a message learns from its port when it is taken. The port is locked.
inline void stamp(kmsg& taken, port& from) noexcept {
  taken.seqno = from.sequence++;
  taken.context = from.context;
  taken.room_awaited = from.send_possible_armed;
}

// Takes the oldest message, gives it its sequence number, and lets blocked senders fill the room.
// The port is locked.
inline kmsg* take(port& from, deferred_work& after) noexcept {
  kmsg* const message = from.queue().take();
  stamp(*message, from);
  if (!from.sets.empty() && !from.queue().peek()) leave_ready(from);
  if (!from.senders.empty()) admit_senders(from, after);
  return message;
}

// The receive right is about to leave its space, to be moved or destroyed: counts and guard are
// reset, the port leaves all sets, receivers get MACH_RCV_PORT_CHANGED or _DIED, watches their last
// event. The port is locked (Darwin: ipc_port_clear_receiver).
void clear_receiver(port& moving, bool to_be_destroyed, deferred_work& after) noexcept;

// The end of a port whose receive right was in nobody's hands any more, with a reference, which is
// consumed. If a port-destroyed notification is registered the right travels in it instead. No lock
// may be held (Darwin: ipc_port_destroy).
void destroy_port(port* dying, deferred_work& after) noexcept;

// Releases what a message carries, or would have.
void release_right(carried_right& right, deferred_work& after) noexcept;
// A send right (may fire no-senders), or a send-once right (sends the send-once notification).
void release_send_right(port* target, deferred_work& after) noexcept;
void release_send_once_right(port* target, deferred_work& after) noexcept;
// The same, of a right whose message has arrived: nothing is sent.
void consume_send_once_right(port* target) noexcept;

// A new send or send-once right to the port, with a reference. The port is locked.
port* make_send_right(port& target) noexcept;
port* make_send_once_right(port& target) noexcept;

}  // namespace kedge::mach::kernel
