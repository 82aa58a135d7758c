// port_destroyed: gets a receive right back when its next owner destroys it, or dies.
//
//     mach::port_destroyed back(requests);           // before the right is handed out
//     (co_await mach::send(worker, mach::message(1, std::move(requests)))).value();
//     requests = (co_await back.wait()).value();     // the worker has died: its clients wait on
//
// The worker takes the right out with received::take_revocable(): take_receive() refuses a right
// that its sender gets back.
//
// Wherever the receive right is, the kernel sends it to this object instead of destroying the port
// (MACH_NOTIFY_PORT_DESTROYED). Queued messages stay in the port, and send rights stay valid.
//
// The request is made once per port, by the constructor, and holds until the right has come back.
// It cannot be withdrawn: if the object is destroyed first, the port dies with its owner as usual,
// and no other request can be made for it. receive_right::destroy() sends the right back too.
//
// wait() gives result<receive_right>: the right, with a guard of its own; errc::closed if something
// else than the right has come; mach::errc::message_lost if the space has no room for the right,
// which is then destroyed; the errors of receive(). If there is no memory for the right when the
// task has its turn, wait() throws and the port dies. Cancellation loses nothing: the right stays
// queued, and another wait() gets it.
//
// Threads: the object may be made on any thread. It is awaited on one loop at a time.
#pragma once

#include <mach/mach.h>

#include <utility>

#include "kedge/mach/notified_receive.h"
#include "kedge/mach/receive_right.h"

namespace kedge::mach {

class port_destroyed_operation final : public notified_receive {
 public:
  explicit port_destroyed_operation(receive_awaitable&& from) noexcept
      : notified_receive(std::move(from)) {}

  result<receive_right> await_resume();
  void describe(description& line) const noexcept { line.print("the return of a receive right"); }
};

class [[nodiscard]] port_destroyed_awaitable {
 public:
  explicit port_destroyed_awaitable(receive_awaitable&& from) noexcept : from_(std::move(from)) {}
  port_destroyed_operation operator co_await() && noexcept {
    return port_destroyed_operation(std::move(from_));
  }

 private:
  receive_awaitable from_;
};

class port_destroyed {
 public:
  // Throws std::bad_alloc; std::system_error: KERN_FAILURE if the port has a request already,
  // KERN_INVALID_RIGHT for a reply port; std::logic_error for an empty right, and for one of
  // another space than the current one.
  explicit port_destroyed(const receive_right& right);

  port_destroyed_awaitable wait() const noexcept {
    return port_destroyed_awaitable(port_.receive());
  }

 private:
  receive_right port_;  // receives the notification
};

}  // namespace kedge::mach
