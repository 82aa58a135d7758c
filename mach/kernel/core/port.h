// A port: a queue of messages with one receive right and any number of send and send-once rights.
//
// Locks. A port's lock may be taken with a space's lock held, and a set's with a port's held; never
// the other way. Two ports are never locked together.
#pragma once

#include <mach/port.h>

#include <cstdint>
#include <utility>

#include "kedge/mach/kernel/core/aftermath.h"
#include "kedge/mach/kernel/core/list.h"
#include "kedge/mach/kernel/core/membership.h"
#include "kedge/mach/kernel/core/message_queue.h"
#include "kedge/mach/kernel/core/name_request.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/ticket.h"
#include "kedge/mach/kernel/core/watch.h"

namespace kedge::mach::kernel {

class space;

using watchers = list<watch, &watch::link>;

// What the kernel itself receives for.
enum class kernel_object : std::uint8_t {
  none,
  task,
  thread,
  host,
  bootstrap,
  semaphore,
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
  bool temporary_owner = false;
  bool importance_donation = false;
  bool send_possible_armed = false;  // some request of `requests` is
  port* no_senders = nullptr;        // registered send-once rights
  port* port_destroyed = nullptr;
  request_table requests;

  waiters receivers;  // of this port alone; receivers of a set stand at the set
  waiters senders;    // in need of room
  watchers watches;
  list<membership, &membership::in_port> sets;

  message_queue& queue() noexcept { return queue_; }
  const message_queue& queue() const noexcept { return queue_; }
  bool full() const noexcept { return queue_.count() >= queue_limit; }

 private:
  ~port() override = default;
  local_queue queue_;
};

// Queues the message, or hands it to a receiver that waits. Room was reserved. The port is locked
// and active; the message is the port's from here on.
void post(port& to, kmsg* message, aftermath& after) noexcept;

// Takes the oldest message, gives it its sequence number, and lets blocked senders fill the room.
// The port is locked.
kmsg* take(port& from, aftermath& after) noexcept;

// Blocked senders' messages take what room there is. The port is locked.
void admit_senders(port& to, aftermath& after) noexcept;

// The receive right is about to leave its space, to be moved or destroyed: counts and guard are
// reset, the port leaves all sets, receivers get MACH_RCV_PORT_CHANGED or _DIED, watches their last
// event. The port is locked (Darwin: ipc_port_clear_receiver).
void clear_receiver(port& moving, bool to_be_destroyed, aftermath& after) noexcept;

// The end of a port whose receive right was in nobody's hands any more, with a reference, which is
// consumed. If a port-destroyed notification is registered the right travels in it instead. No lock
// may be held (Darwin: ipc_port_destroy).
void destroy_port(port* dying, aftermath& after) noexcept;

// Releases what a message carries, or would have.
void release_right(carried_right& right, aftermath& after) noexcept;
// A send right (may fire no-senders), or a send-once right (sends the send-once notification).
void release_send_right(port* target, aftermath& after) noexcept;
void release_send_once_right(port* target, aftermath& after) noexcept;
// The same, of a right whose message has arrived: nothing is sent.
void consume_send_once_right(port* target) noexcept;

// A new send or send-once right to the port, with a reference. The port is locked.
port* make_send_right(port& target) noexcept;
port* make_send_once_right(port& target) noexcept;

}  // namespace kedge::mach::kernel
