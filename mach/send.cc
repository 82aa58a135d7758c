// Implements send() and try_send() over transmit(). A full queue is awaited on the loop's
// name_watches.
#include "kedge/mach/send.h"

#include <new>

#include "kedge/mach/error.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/mach/transmit.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {

namespace {

bool is_known(mach_port_name_t name) noexcept {
  mach_port_type_t type = MACH_PORT_TYPE_NONE;
  return mach_port_type(mach_task_self(), name, &type) == KERN_SUCCESS;
}

// Returns the error of a send to `name` that has failed.
std::error_code error_of(mach_msg_return_t code, mach_port_name_t name) noexcept {
  if (code != MACH_SEND_INVALID_DEST) return msg_error(code);
  return is_known(name) ? errc::peer_died : errc::wrong_space;
}

// Makes the task ready that receives from the name, if it waits on the loop that this thread
// drives. Any other waits for its own kqueue.
void wake_receiver(mach_port_name_t name) noexcept {
  if (reactor* const driven = reactor::current()) driven->anticipate(EVFILT_MACHPORT, name);
}

}  // namespace

std::error_code destination::fault() const noexcept {
  if (name_ != MACH_PORT_NULL) return errc::wrong_space;
  return was_dead_ ? errc::peer_died : errc::empty_right;
}

bool destination::transmit(message& m, std::error_code& error, blocking_trap* trap) noexcept {
  if (!is_usable(m)) [[unlikely]] {
    error = fault();
    return true;
  }
  // A send right is copied, never moved: if the last reference to a name is moved out and given
  // back, it returns under another name, which no request watches.
  const bool once = static_cast<bool>(once_);
  const send_result result =
      once ? mach::transmit(m, std::move(once_).release(), MACH_MSG_TYPE_MOVE_SEND_ONCE)
           : mach::transmit(m, name_, MACH_MSG_TYPE_COPY_SEND, trap);
  if (result.code != MACH_MSG_SUCCESS) [[unlikely]]
    return once ? finish_once(m, result, error) : finish(m, result, error);
  if (result.awakened != MACH_PORT_NULL) wake_receiver(result.awakened);
  return true;
}

// Ends a send by a send-once right that has failed. Returns true, as transmit() does.
bool destination::finish_once(const message& m, const send_result& result,
                              std::error_code& error) noexcept {
  // May have returned under another name.
  once_ = send_once_right::adopt(result.returned, place());
  if (!m) {
    error = errc::rights_lost;
  } else if (result.code == MACH_SEND_TIMED_OUT) {
    // The queue is full for send-once rights too. No notification tells when it no longer is.
    error = errc::queue_full;
  } else {
    error = error_of(result.code, result.returned);
  }
  return true;
}

// Ends a send by a send right that has failed. Returns what transmit() does.
bool destination::finish(const message& m, const send_result& result,
                         std::error_code& error) noexcept {
  if (MACH_PORT_VALID(result.returned)) {
    // The kernel has given the copy back. The owner's reference, or our own, keeps the name.
    mach_port_deallocate(mach_task_self(), result.returned);
  }
  if (!m) {
    error = errc::rights_lost;
    return true;
  }
  if (result.code == MACH_SEND_TIMED_OUT) {
    // The port has died before the kernel gave the copy back, or no reference was to be had.
    if (MACH_PORT_VALID(result.returned) && hold()) return false;
    error = errc::peer_died;
    return true;
  }
  error = error_of(result.code, name_);
  return true;
}

bool destination::hold() noexcept {
  if (once_) return false;
  if (held_) return true;
  try {
    held_ = send_right::another(name_);
  } catch (const std::system_error&) {
    // The next transmit() reports the error.
  } catch (const std::bad_alloc&) {
    // Only if no other object counts the name: its owner has released it.
  }
  return static_cast<bool>(held_);
}

bool send_operation::has_predecessors(const reactor& r) noexcept {
  name_watches* const waits = r.find_attachment<name_watches>();
  return waits != nullptr && waits->has_room_waiters(to_.name());
}

bool send_operation::await_ready() noexcept {
  const reactor* const driven = reactor::current();
  if (!message_ || driven == nullptr || has_predecessors(*driven)) return false;
  was_full_ = !attempt();
  return !was_full_;
}

bool send_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  if (!message_) message_ = message(0);
  reactor& r = w.owner_context().in_reactor();
  const bool is_later = has_predecessors(r) && to_.hold();
  if (!is_later && !was_full_ && attempt()) return false;
  r.attachment<name_watches>().wait_for_room(to_.name(), *this);
  if (is_later) return true;
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
