// receive_right: the right to receive messages from a port. The port lives as long as its receive
// right.
//
//     auto requests = kedge::mach::receive_right::make();
//     kedge::mach::send_right to_me = requests.make_send();
//     kedge::mach::received m = (co_await requests.receive()).value();   // "kedge/mach/receive.h"
//
// The right always has a strict guard of its own, so only this object can destroy or unguard it.
// Its destruction kills the port: holders of send rights are notified (died()), queued messages are
// destroyed, and a task that awaits the right gets errc::closed.
//
// One task may receive at a time, on one loop at a time. Like all rights it belongs to the space in
// which it was made: in another space, and in a forked child, it is refused (std::logic_error), and
// its destruction releases nothing.
#pragma once

#include <mach/mach.h>

#include <cstdint>

#include "kedge/mach/pooled_port.h"
#include "kedge/mach/port_status.h"
#include "kedge/mach/receive_losses.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

class port_source;
class receive_awaitable;  // include "kedge/mach/receive.h"

class receive_right {
 public:
  // Empty.
  receive_right() = default;
  // Makes a port. Its queue holds `queue_limit` messages (1 to MACH_PORT_QLIMIT_MAX) before senders
  // have to wait. Throws std::system_error or std::bad_alloc.
  static receive_right make(mach_port_msgcount_t queue_limit = MACH_PORT_QLIMIT_DEFAULT,
                            const place& where = place::current());
  // The same, for a port that the library keeps for itself: the ledger has no entry of it.
  static receive_right make_pooled(pooled_port use, mach_port_msgcount_t queue_limit);
  // Takes over the receive right `name`, which must have no guard, and guards it. MACH_PORT_NULL
  // and MACH_PORT_DEAD give an empty object. Throws std::system_error or std::bad_alloc; the caller
  // then still owns the right. A right with a port-destroyed request is refused with
  // errc::revocable: when it is destroyed, it goes to whoever has made the request, with its queue
  // and all later messages, and no holder of a send right is notified of a death.
  static receive_right adopt(mach_port_name_t name, const place& where = place::current());
  // The same, also for a right with such a request.
  static receive_right adopt_revocable(mach_port_name_t name,
                                       const place& where = place::current());

  // Takes the receive right `name` with its queue out of the space of `task`, to which the caller
  // has a send right (its self port). The owner must have given the name up, as release() does.
  // The right loses what every moved receive right loses: guard, sets, sequence number. It may have
  // a port-destroyed request, as for adopt_revocable(). Throws std::system_error
  // (KERN_INVALID_NAME, KERN_INVALID_RIGHT, KERN_INVALID_CAPABILITY for a right that cannot be
  // moved, KERN_INVALID_TASK or KERN_TERMINATED for a task that has ended), whereupon the right
  // stays where it is; with KERN_NO_SPACE or KERN_RESOURCE_SHORTAGE its port has died. Throws
  // std::bad_alloc, which changes nothing. space::give() is the other direction.
  static receive_right extract(mach_port_t task, mach_port_name_t name,
                               const place& where = place::current());

  receive_right(receive_right&& other) noexcept;
  receive_right& operator=(receive_right&& other) noexcept;
  ~receive_right() { destroy(); }

  // False if the object is empty: default-constructed, moved from, released or destroyed.
  explicit operator bool() const noexcept { return source_ != nullptr; }

  // The name, or MACH_PORT_NULL if empty. The object keeps the right.
  mach_port_name_t name() const noexcept;
  // The incarnation of the space in which the name has its meaning. 0 if empty.
  std::uint32_t space() const noexcept;

  // Removes the guard and transfers the right to the caller. A task that awaits it gets
  // errc::closed. Returns MACH_PORT_NULL if empty, or if another space is current.
  mach_port_name_t release() && noexcept;

  // Destroys the right, and the port with it. The object is then empty.
  void destroy() noexcept;

  // Make new rights to this port. The name of a send right is the receive right's own. Throw
  // std::system_error, std::bad_alloc, and std::logic_error if the right is empty or belongs to
  // another space than the current one. So do the functions below it that throw.
  send_right make_send(const place& where = place::current()) const;
  send_once_right make_send_once(const place& where = place::current()) const;

  // What the kernel knows of the port: queued messages, queue limit, rights. Throws
  // std::system_error.
  port_status status() const;
  // Sets the queue limit, in messages (1 to MACH_PORT_QLIMIT_MAX). If the limit is raised, the
  // operations of this space that wait for room (send(), call()) try again. Those of another space
  // are not notified: they try again when the next message has been received from the full queue.
  // Throws std::system_error.
  void set_queue_limit(mach_port_msgcount_t limit);

  // Lets messages carry the importance of their senders to the receiver's task
  // (MACH_PORT_IMPORTANCE_RECEIVER). With a temporary owner it goes to the task that receives from
  // the port for another one (MACH_PORT_TEMPOWNER). Neither can be taken back. On Linux status()
  // shows them, and the kernel schedules by neither. Throw std::system_error.
  void accept_importance();
  void set_temporary_owner();

  // For how many requests of notifications (died(), send()) of all senders the kernel has room at
  // the port before it allocates more (MACH_PORT_DNREQUESTS_SIZE); and makes that room, for a port
  // with a known crowd of watchers. Some versions of Darwin ignore the wish, and the kernel has an
  // upper bound of its own. Throw std::system_error.
  std::uint32_t request_slots() const;
  void reserve_request_slots(std::uint32_t count);

  // Waits for a message. Gives result<received>: mach::errc::empty_right for an empty right,
  // errc::closed if the right is released or destroyed
  // during the wait, errc::already_awaited if another task waits. The message leaves the queue only
  // when the task gets its turn, so cancellation loses nothing.
  receive_awaitable receive() const noexcept;
  // The messages that receive() has dropped, since the right was made or adopted.
  receive_losses losses() const noexcept;

 private:
  friend class port_destroyed;
  friend class port_set;
  friend class received;
  friend class reply_port;
  friend class no_senders_awaitable;

  static receive_right make(mach_port_context_t guard, mach_port_msgcount_t queue_limit,
                            const place& where);
  void set_attribute(mach_port_flavor_t flavor, std::uint32_t* words, mach_msg_type_number_t count,
                     const char* what);
  // See port_source::usable_name().
  mach_port_name_t usable(const char* what) const;

  port_source* source_ = nullptr;
  mach_port_context_t guard_ = 0;
};

}  // namespace kedge::mach
