#include "kedge/mach/send.h"

#include "kedge/mach/error.h"
#include "kedge/mach/send_result.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {

bool destination::transmit(message& m, std::error_code& error) noexcept {
  const bool moved = disposition_ != MACH_MSG_TYPE_COPY_SEND;
  // Waiting, we hold a reference and lend it: a name whose last one is moved out comes back under
  // another name, which nobody watches.
  const mach_port_name_t name = moved ? std::move(held_).release() : name_;
  send_result t = mach::transmit(m, name, disposition_);
  switch (t.code) {
    case MACH_MSG_SUCCESS:
      return true;
    case MACH_SEND_TIMED_OUT:
      if (!held_) held_ = std::move(t.destination);
      name_ = held_.name();
      disposition_ = MACH_MSG_TYPE_COPY_SEND;
      if (held_) return false;
      error = errc::peer_died;  // meanwhile
      return true;
    case MACH_SEND_INVALID_DEST:
      error = errc::peer_died;
      return true;
    default:
      error = m ? msg_error(t.code) : make_error_code(errc::rights_lost);
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
    // The try to send will say what is wrong.
  }
  return static_cast<bool>(held_);
}

bool send_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  if (!message_) message_ = message(0);
  auto& port = w.where().in_reactor().attachment<notification_port>();
  const bool in_line = port.has_line_for_room(to_.name()) && to_.hold();
  if (!in_line && attempt()) return false;
  port.wait_for_room(to_.name(), *this);
  if (in_line) return true;
  error_ = ask_for_room();
  return !error_;
}

void send_operation::set_reply_port(mach_port_name_t name) {
  if (!message_) message_ = message(0);
  message_.set_reply(name, MACH_MSG_TYPE_MAKE_SEND_ONCE);
}

bool send_operation::await_settle() noexcept {
  if (!error_ && !attempt()) {
    error_ = ask_for_room();
    if (!error_) return false;
  }
  leave();
  return true;
}

cancel_result send_operation::await_cancel() noexcept {
  leave();
  return cancel_result::withdrawn;
}

void send_operation::told(std::error_code error) noexcept {
  error_ = error;
  waiter_->where().in_reactor().ready(*waiter_);
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
