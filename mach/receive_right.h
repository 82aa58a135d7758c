// receive_right: the right to receive from a port; the port lives as long as it does.
//
//     auto requests = kedge::mach::receive_right::make();
//     kedge::mach::send_right to_me = requests.make_send();
//     kedge::mach::received m = (co_await requests.receive()).value();   // "kedge/mach/receive.h"
//
// Always guarded, with a guard of its own and strictly, so that nothing but this object destroys or
// unguards it. When it is destroyed whoever holds send rights to it is told (died()), queued
// messages are destroyed, and whoever awaits it gets errc::closed. One task may receive at a time.
// Like all rights it belongs to the space that it was made in; awaiting it belongs to one loop at a
// time.
#pragma once

#include <mach/mach.h>

#include <cstdint>

#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

class port_source;
class receive_awaitable;

class receive_right {
 public:
  // Empty.
  receive_right() = default;
  // A new port, of which at most `queue_limit` messages wait (1 to MACH_PORT_QLIMIT_MAX). Throws
  // std::system_error or std::bad_alloc.
  static receive_right make(mach_port_msgcount_t queue_limit = MACH_PORT_QLIMIT_DEFAULT);
  // Takes over a receive right without a guard, and guards it. Throws the same; then it is the
  // caller's still. MACH_PORT_NULL and MACH_PORT_DEAD give an empty one.
  static receive_right adopt(mach_port_name_t name);

  receive_right(receive_right&& other) noexcept;
  receive_right& operator=(receive_right&& other) noexcept;
  ~receive_right() { destroy(); }

  explicit operator bool() const noexcept { return source_ != nullptr; }

  // Lends the name; MACH_PORT_NULL if empty.
  mach_port_name_t name() const noexcept;

  // Gives the right up to the caller, without its guard. Whoever awaits it gets errc::closed.
  mach_port_name_t release() && noexcept;

  // Destroys the right, and the port with it.
  void destroy() noexcept;

  // New rights to this port; their name may be the receive right's own. Throw std::system_error.
  send_right make_send() const;
  send_once_right make_send_once() const;

  // The kernel's account of the port: messages waiting, limit, rights. Throws std::system_error.
  mach_port_status_t status() const;
  void set_queue_limit(mach_port_msgcount_t limit);

  // Waits for a message. Gives result<received>: errc::closed if the right is given up meanwhile,
  // errc::already_awaited for a second task. A message is taken when the task goes on, so
  // cancellation loses nothing.
  receive_awaitable receive() const noexcept;

 private:
  friend class reply_port;
  friend class no_senders_awaitable;
  friend class notification_port;

  port_source* source_ = nullptr;
  mach_port_context_t guard_ = 0;
};

}  // namespace kedge::mach
