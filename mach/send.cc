// Implements send() and try_send() over transmit(). A full queue is awaited on the loop's
// notification_port.
#include "kedge/mach/send.h"

#include "kedge/mach/error.h"
#include "kedge/mach/transmit.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {

bool destination::transmit(message& m, std::error_code& error) noexcept {
  const bool moved = disposition_ != MACH_MSG_TYPE_COPY_SEND;
  // A waiting send copies its right instead of moving it. If the last reference to a name is moved
  // out and given back, it returns under another name, which no request watches.
  const mach_port_name_t name = moved ? std::move(held_).release() : name_;
  send_result result = mach::transmit(m, name, disposition_);
  switch (result.code) {
    case MACH_MSG_SUCCESS:
      return true;
    case MACH_SEND_TIMED_OUT:
      if (!held_) held_ = std::move(result.destination);
      name_ = held_.name();
      disposition_ = MACH_MSG_TYPE_COPY_SEND;
      if (held_) return false;
      // The port died before the kernel gave its right back.
      error = errc::peer_died;
      return true;
    case MACH_SEND_INVALID_DEST:
      error = errc::peer_died;
      return true;
    default:
      error = m ? msg_error(result.code) : make_error_code(errc::rights_lost);
      return true;
  }
}

bool destination::hold() noexcept {
  if (held_) {
    disposition_ = MACH_MSG_TYPE_COPY_SEND;
    return true;
  }
  try {
    held_ = send_right::another(name_);
  } catch (const std::system_error&) {
    // The next transmit() reports the error.
  }
  return static_cast<bool>(held_);
}

bool send_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  if (!message_) message_ = message(0);
  auto& port = w.owner_context().in_reactor().attachment<notification_port>();
  const bool has_predecessors = port.has_room_waiters(to_.name()) && to_.hold();
  if (!has_predecessors && attempt()) return false;
  port.wait_for_room(to_.name(), *this);
  if (has_predecessors) return true;
  error_ = request_room();
  return !error_;
}

void send_operation::set_reply_port(mach_port_name_t name) {
  if (!message_) message_ = message(0);
  message_.set_reply(name, MACH_MSG_TYPE_MAKE_SEND_ONCE);
}

bool send_operation::await_settle() noexcept {
  if (!error_ && !attempt()) {
    error_ = request_room();
    if (!error_) return false;
  }
  leave();
  return true;
}

bool send_operation::await_cancel(cancel_cause) noexcept {
  leave();
  return true;
}

send_failure send_operation::await_expired(kedge::errc e) && noexcept {
  return send_failure(make_error_code(e), std::move(message_));
}

void send_operation::on_notified(std::error_code error) noexcept {
  error_ = error;
  wake(*waiter_);
}

result<void, send_failure> send_operation::await_resume() {
  leave();
  if (error_) return unexpected(send_failure(error_, std::move(message_)));
  return {};
}

void send_operation::describe(description& line) const noexcept {
  line.print("room in the queue of port 0x%x", to_.name());
}

result<void, send_failure> try_send(destination to, message m) {
  if (!m) m = message(0);
  std::error_code error;
  if (!to.transmit(m, error)) error = errc::queue_full;
  if (error) return unexpected(send_failure(error, std::move(m)));
  return {};
}

}  // namespace kedge::mach
