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

send_once_right destination::take_once() noexcept {
  holds_ = kind::none;
  return send_once_right(space_, name_);
}

void destination::release() noexcept {
  if (holds_ == kind::send) {
    const send_right released(space_, name_);
  } else {
    take_once();
  }
  holds_ = kind::none;
}

// A send right is copied, never moved: if the last reference to a name is moved out and given back,
// it returns under another name, which no request watches.
bool destination::transmit(message& m, std::optional<std::error_code>& error) noexcept {
  if (!is_usable(m)) [[unlikely]] {
    error = fault();
    return true;
  }
  if (holds_ == kind::send_once || !outgoing::is_plain(m)) [[unlikely]]
    return transmit_slowly(m, error, nullptr);
  const mach_msg_size_t size = outgoing::address(m, name_, MACH_MSG_TYPE_COPY_SEND);
  const kernel::sending sent = kernel::send(&outgoing::header_of(m), transmit_options, size);
  if (sent.code != MACH_MSG_SUCCESS) [[unlikely]]
    return finish(m, finish_plain(m, size, sent.code), error);
  outgoing::forget(m);
  if (sent.awakened != MACH_PORT_NULL) wake_receiver(sent.awakened);
  return true;
}

bool destination::transmit(message& m, std::optional<std::error_code>& error,
                           blocking_trap& trap) noexcept {
  if (is_usable(m)) return transmit_slowly(m, error, &trap);
  error = fault();
  return true;
}

// transmit() of whatever message, by whatever right.
bool destination::transmit_slowly(message& m, std::optional<std::error_code>& error,
                                  blocking_trap* trap) noexcept {
  const bool once = holds_ == kind::send_once;
  const send_result result =
      once ? mach::transmit(m, take_once().release(), MACH_MSG_TYPE_MOVE_SEND_ONCE)
           : mach::transmit(m, name_, MACH_MSG_TYPE_COPY_SEND, trap);
  return once ? finish_once(m, result, error) : finish(m, result, error);
}

// Ends a send by a send-once right that has had `result`. Returns true, as transmit() does.
bool destination::finish_once(const message& m, const send_result& result,
                              std::optional<std::error_code>& error) noexcept {
  if (result.code == MACH_MSG_SUCCESS) return finish(m, result, error);
  // May have returned under another name.
  name_ = send_once_right::adopt(result.returned, place()).release_entry();
  if (name_ != MACH_PORT_NULL) holds_ = kind::send_once;
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

// Ends a send by a send right that has had `result`. Returns what transmit() does.
bool destination::finish(const message& m, const send_result& result,
                         std::optional<std::error_code>& error) noexcept {
  if (result.code == MACH_MSG_SUCCESS) {  // after an interruption
    if (result.awakened != MACH_PORT_NULL) wake_receiver(result.awakened);
    return true;
  }
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
  if (holds_ != kind::none) return holds_ == kind::send;
  try {
    if (send_right::another(name_).release_count() != MACH_PORT_NULL) holds_ = kind::send;
  } catch (const std::system_error&) {
    // The next transmit() reports the error.
  } catch (const std::bad_alloc&) {
    // Only if no other object counts the name: its owner has released it.
  }
  return holds_ == kind::send;
}

bool send_operation::has_predecessors(const reactor& r) noexcept {
  name_watches* const waits = r.find_attachment<name_watches>();
  return waits != nullptr && waits->has_room_waiters(to_.name());
}

bool send_operation::await_suspend(waiter& w) {
  waiter_ = &w;
  if (!message_) message_ = message(0);
  reactor& r = w.owner_context().in_reactor();
  const bool is_later = has_predecessors(r) && to_.hold();
  if (!is_later && !was_full_ && attempt()) return false;
  r.attachment<name_watches>().wait_for_room(to_.name(), *this);
  if (is_later) return true;
  return request_room();
}

void send_operation::set_reply_port(mach_port_name_t name) {
  if (!message_) message_ = message(0);
  message_.set_reply(name, MACH_MSG_TYPE_MAKE_SEND_ONCE);
}

bool send_operation::await_settle() noexcept {
  if (!error_ && !attempt() && request_room()) return false;
  leave();
  return true;
}

// Requests the notification of room. Returns false if that has failed, with the error.
bool send_operation::request_room() noexcept {
  const std::error_code error = name_waiter::request_room();
  if (error) error_ = error;
  return !error;
}

bool send_operation::await_cancel(cancel_cause) noexcept {
  leave();
  return true;
}

send_failure send_operation::await_expired(kedge::errc e) && noexcept {
  return send_failure(make_error_code(e), std::move(message_));
}

void send_operation::on_notified(std::error_code error) noexcept {
  if (error) error_ = error;
  wake(*waiter_);
}

void send_operation::describe(description& line) const noexcept {
  line.print("room in the queue of port 0x%x", to_.name());
}

result<void, send_failure> try_send(destination to, message m) {
  if (!m) m = message(0);
  std::optional<std::error_code> error;
  if (!to.transmit(m, error)) error = make_error_code(errc::queue_full);
  if (error) return unexpected(send_failure(*error, std::move(m)));
  return {};
}

}  // namespace kedge::mach
