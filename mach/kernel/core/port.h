// port: a queue of messages with one receive right and any number of send and send-once rights
// (Darwin: ipc_port.c, ipc_mqueue.c).
//
// Locks: the lock of a space, then of a port, then of a set. Two ports are never locked together.
#pragma once

#include <mach/port.h>

#include <cstdint>
#include <utility>

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/message_queue.h"
#include "kedge/mach/kernel/core/name_request.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/pending_call.h"
#include "kedge/runtime/base/list.h"

namespace kedge::mach::kernel {

class ipc_port_set;
class ipc_space;

// What a watch is notified of.
enum class watch_event {
  message,  // the port, or a member of the set, went from empty to non-empty
  gone,     // the receive right or the set was destroyed or moved away: the last event
};

// Watches a port or a port set for messages, on behalf of a knote. The core only notifies: waking a
// kqueue is left to the watch.
class watch {
 public:
  // Called with the object's lock held, on the thread that caused the event. Must not call the
  // kernel.
  virtual void changed(watch_event event) noexcept = 0;

  base::list_link<watch> link;

 protected:
  watch() = default;
  ~watch() = default;
};

using watchers = base::list<watch, &watch::link>;

// Notifies all watches, and removes them if the event is `gone`. Requires the object's lock.
void notify_watchers(watchers& all, watch_event event) noexcept;

// Links a port to a port set of which it is a member. Made and removed with both locks held. The
// port's lock guards the port's list, the set's lock guards the set's lists.
struct membership {
  port* member = nullptr;
  // Null: the set was destroyed, see macos11_set_chain.h.
  ipc_port_set* set = nullptr;
  base::list_link<membership> in_port;
  base::list_link<membership> in_set;
  base::list_link<membership> ready;  // linked while the member has messages
};

using member_sets = base::list<membership, &membership::in_port>;

// What a port stands for in the kernel. The kernel itself receives for all of these but a timer,
// whose receive right is in a task.
enum class kernel_object : std::uint8_t {
  none,
  timer,
  task,
  thread,
  host,
  bootstrap,
  semaphore,
  file,
  voucher,
  memory_entry,
  clock,
};

class port final : public object {
 public:
  port() noexcept : object(object_kind::port) {}
  // A port that serves a task or one of its threads, a clock, or none that needs more than its
  // kind.
  port(kernel_object served, std::uint64_t id) noexcept
      : object(object_kind::port), serves(served), served_task(id) {}
  port(kernel_object served, ref<object> target) noexcept
      : object(object_kind::port), serves(served), served_object(std::move(target)) {}

  const kernel_object serves = kernel_object::none;
  const std::uint64_t served_task = 0;  // id of the task; of the clock
  const ref<object> served_object;      // of other kinds
  // Whether messages to the port are the kernel's own (Darwin: ipc_space_kernel).
  bool is_kernels() const noexcept { return serves > kernel_object::timer; }

  // The space that holds the receive right, and its name there. Null: the right is in a message,
  // with the kernel, or destroyed.
  ipc_space* receiver = nullptr;
  mach_port_name_t receiver_name = MACH_PORT_NULL;
  // The port that the message with the receive right is bound for, with a reference. Guarded by
  // kernel::transit.
  port* destination = nullptr;

  std::uint32_t send_rights = 0;  // names and messages that hold one
  std::uint32_t send_once_rights = 0;
  std::uint32_t make_send_count = 0;
  std::uint32_t sequence = 0;  // messages taken
  std::uint32_t queue_limit = MACH_PORT_QLIMIT_DEFAULT;
  std::uint32_t number = 0;  // what kernel::number_of() has given out, which guards it; 0: nothing
  mach_port_context_t context = 0;
  bool guarded = false;
  bool strict_guard = false;
  bool immovable = false;  // the receive right must not be moved
  // A reply port for all its life. Only send-once rights are made of it, as the reply port of a
  // message, and used as a destination.
  bool reply = false;
  bool provisional_reply = false;  // a reply port by name only
  bool wants_reply_port = false;   // messages to it must name a `reply` or `provisional_reply` port
  bool service = false;            // made by the name server
  bool throttled = false;          // MACH_PORT_SERVICE_THROTTLED: stored only
  bool immovable_send = false;     // send rights can be sent to, but not moved or copied
  bool temporary_owner = false;    // MACH_PORT_TEMPOWNER: stored only
  bool importance_donation = false;  // stored only
  bool send_possible_armed = false;  // some request of `requests` is armed
  std::uint32_t sequence_shift = 0;  // what mach_port_set_seqno has added to `sequence`
  port* no_senders = nullptr;        // registered send-once right
  port* port_destroyed = nullptr;    // registered send-once right
  request_table requests;

  waiters receivers;  // of this port alone; receivers of a set wait at the set
  waiters senders;    // waiting for room in the queue
  watchers watches;
  member_sets sets;

  local_queue& queue() noexcept { return queue_; }
  const local_queue& queue() const noexcept { return queue_; }
  // Messages taken since the port was made, modulo 2^32, whatever mach_port_set_seqno has set.
  std::uint32_t taken() const noexcept { return sequence - sequence_shift; }
  bool full() const noexcept { return queue_.count() >= queue_limit; }
  // Whether the queue takes no message at all, whatever right it comes by, and from the kernel none
  // either (Darwin: imq_full_kernel). No queue limit is as high, so a port that is not full is not
  // at its ceiling.
  bool at_ceiling() const noexcept { return queue_.count() >= MACH_PORT_QLIMIT_KERNEL; }
  // Whether a message concerns anything but the queue: a receiver, a watch, a set.
  bool is_awaited() const noexcept {
    return !receivers.empty() || !watches.empty() || !sets.empty();
  }

 private:
  ~port() override = default;
  local_queue queue_;
};

// Offers a message to the receivers that wait in `queue`, and returns whether one has got it. A
// receiver with MACH_RCV_LARGE for which the message is too large completes with that error, and
// the next one is offered the message. Without MACH_RCV_LARGE the receiver gets it and will destroy
// it. Requires the port lock, and the set's lock if the receivers wait at a set.
bool hand_over(waiters& queue, port& from, kmsg* message, deferred_work& cleanup) noexcept;

// Hands the message to a waiting receiver; or queues it and notifies watches and sets. Returns true
// if it has notified them: the queue was empty. Requires the port lock.
bool post_to_waiters(port& to, kmsg* message, deferred_work& cleanup) noexcept;

// Queues the message or hands it to a waiting receiver; the port owns it after this call. Returns
// true if watches or sets were notified. Requires the port lock, an active port, and room reserved
// for the message.
inline bool post(port& to, kmsg* message, deferred_work& cleanup) noexcept {
  if (to.is_awaited()) return post_to_waiters(to, message, cleanup);
  to.queue().commit(message);
  return false;
}

// Returns the name under which `space` can receive what the port has got, for a port whose watches
// or sets were notified: that of the receive right if it is watched, else that of a set.
// MACH_PORT_NULL if the space does not have the receive right. Requires the port lock.
mach_port_name_t name_of_awakened(const port& of, const ipc_space& space) noexcept;

// Removes the port, whose last message was taken, from the ready members of its sets. Requires the
// port lock.
void leave_ready(port& empty) noexcept;
// Queues the messages of blocked senders as far as there is room. Requires the port lock.
void admit_senders(port& to, deferred_work& cleanup) noexcept;

// Gives a message that is taken its sequence number and the state of its port. Requires the port
// lock.
inline void stamp(kmsg& taken, port& from) noexcept {
  taken.seqno = from.sequence++;
  taken.context = from.context;
  taken.room_awaited = from.send_possible_armed;
}

// Takes the oldest message, stamps it, and lets blocked senders fill the room. Requires the port
// lock.
inline kmsg* take(port& from, deferred_work& cleanup) noexcept {
  kmsg* const message = from.queue().take();
  stamp(*message, from);
  if (!from.sets.empty() && !from.queue().peek()) leave_ready(from);
  if (!from.senders.empty()) admit_senders(from, cleanup);
  return message;
}

// Prepares a port whose receive right leaves its space, to be moved or destroyed. Resets counts and
// guard, leaves all sets, completes receivers with MACH_RCV_PORT_CHANGED or MACH_RCV_PORT_DIED, and
// gives watches their last event. Requires the port lock (Darwin: ipc_port_clear_receiver).
void clear_receiver(port& moving, bool to_be_destroyed, deferred_work& cleanup) noexcept;

// Destroys a port whose receive right is in no space, and consumes one reference. If a
// port-destroyed notification is registered, the notification carries the right away instead. No
// lock may be held (Darwin: ipc_port_destroy).
void destroy_port(port* dying, deferred_work& cleanup) noexcept;

// Releases a right that a message carries, or would have carried. No lock may be held.
void release_right(carried_right& right, deferred_work& cleanup) noexcept;
// Releases a send right with its reference; may send a no-senders notification. No lock may be
// held.
void release_send_right(port* target, deferred_work& cleanup) noexcept;
// Releases a send-once right: a send-once notification consumes it. No lock may be held.
void release_send_once_right(port* target, deferred_work& cleanup) noexcept;
// Releases a send-once right whose message has arrived: sends nothing. Takes the port lock.
void consume_send_once_right(port* target) noexcept;

// Each makes a new right to the port, with a reference, and returns the port. Requires the port
// lock.
port* make_send_right(port& target) noexcept;
port* make_send_once_right(port& target) noexcept;

// Makes another send right from an existing one, with a reference. Requires the port lock. A step
// of the fast path of mach_msg: forced inline, since g++ would call a function.
[[gnu::always_inline]] inline void copy_send_right(port& target) noexcept {
  ++target.send_rights;
  target.retain();
}

}  // namespace kedge::mach::kernel
