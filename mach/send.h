// send(): sends a message, and waits for room in the destination's queue.
// try_send(): the same without waiting.
//
//     auto sent = co_await mach::send(worker, mach::message(batch, header, text));
//     if (!sent) unsent.push_back(std::move(sent.error()).message());
//
// Ownership: a `const send_right&` is borrowed; the message takes a reference of its own. It must
// live until the co_await begins, and may be destroyed during the wait. A right that is moved in is
// consumed, even if the send fails.
//
// Errors: failures are values, and hand the whole message back: mach::errc::peer_died, queue_full
// (try_send, and a send-once right to a port with 65,534 messages), empty_right, wrong_space for a
// right or a message of another space than the current one, or the kernel's code (category
// "mach.msg") for a lack of resources. Only mach::errc::rights_lost loses the message. Success is
// not delivery: the kernel accepts a message for a port that dies during the call. A send that
// would have to wait throws std::bad_alloc or std::system_error if the wait cannot begin for lack
// of memory or names, and std::logic_error if the current space is not the loop's; the message is
// lost then.
//
// Senders of one loop to one port are served in the order in which they began to wait. The loops of
// a space, and other spaces, compete for room. None of the senders blocks the thread. If the queue
// limit is raised (receive_right::set_queue_limit), those in the receiver's space go on at once,
// and those of other spaces when the next message has been received. Cancellation loses the
// message: it was not sent, and is destroyed. with_timeout(d, send(...)) hands it back.
//
// A full queue from which the sender's own loop was the last to receive, by its right alone, is
// taken for one that nothing else drains: if nothing else is left, loop::run() throws a deadlock,
// for example if two services of one loop fill each other's queues. A thread that takes the right
// over, receives from it past its loop, raises its limit or destroys it keeps a remote of the loop
// until then.
#pragma once

#include <mach/mach.h>

#include <concepts>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

#include "kedge/mach/message.h"
#include "kedge/mach/name_watches.h"
#include "kedge/mach/reply_right.h"
#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

class blocking_trap;
struct send_result;

// Why a send has failed, and the message that was not sent.
class send_failure {
 public:
  send_failure(std::error_code code, kedge::mach::message&& m) noexcept
      : code_(code), message_(std::move(m)) {}
  // Its text is code().message().
  std::error_code code() const noexcept { return code_; }
  // The message, to be moved out. Empty with errc::rights_lost.
  kedge::mach::message& message() & noexcept { return message_; }
  kedge::mach::message&& message() && noexcept { return std::move(message_); }

 private:
  std::error_code code_;
  kedge::mach::message message_;
};

// The right by which a message is sent, and whether that right is borrowed or consumed. It is moved
// several times on its way, and so is small.
class destination {
 public:
  explicit destination(const send_right& borrowed) noexcept
      : name_(borrowed.name()), space_(borrowed.space()) {}
  explicit destination(send_right&& right) noexcept : destination(right) {
    if (right.release_count() != MACH_PORT_NULL) holds_ = kind::send;
  }
  explicit destination(send_once_right&& right) noexcept
      : name_(right.name()), space_(right.space()) {
    if (right.release_entry() != MACH_PORT_NULL) holds_ = kind::send_once;
  }
  explicit destination(reply_right&& right) noexcept
      : name_(right.name()), space_(right.space()), was_dead_(right.died_) {
    if (right.send_.release_count() != MACH_PORT_NULL) {
      holds_ = kind::send;
    } else if (right.send_once_.release_entry() != MACH_PORT_NULL) {
      holds_ = kind::send_once;
    }
  }
  destination(destination&& other) noexcept
      : name_(other.name_),
        space_(other.space_),
        holds_(std::exchange(other.holds_, kind::none)),
        was_dead_(other.was_dead_) {}
  destination& operator=(destination&&) = delete;
  ~destination() {
    if (holds_ != kind::none) release();
  }

  // MACH_PORT_NULL if the right is empty.
  mach_port_name_t name() const noexcept { return name_; }

  // Tries once to send, by `trap` if it is given, which blocks. Returns true if the send is over;
  // `error` is set if it has failed. Returns false if the queue is full, or was full until the
  // trap's time-out; the destination then holds a reference of its own.
  bool transmit(message& m, std::optional<std::error_code>& error) noexcept;
  bool transmit(message& m, std::optional<std::error_code>& error, blocking_trap& trap) noexcept;
  // Makes the destination hold a reference of its own. Returns false if it cannot, and for a
  // send-once right.
  bool hold() noexcept;

 private:
  enum class kind : std::uint8_t { none, send, send_once };

  bool is_usable(const message& m) const noexcept {
    return name_ != MACH_PORT_NULL && space_ == m.parts().space && m.is_here();
  }
  // What is_usable() has found.
  std::error_code fault() const noexcept;
  bool transmit_slowly(message& m, std::optional<std::error_code>& error,
                       blocking_trap* trap) noexcept;
  bool finish(const message& m, const send_result& result,
              std::optional<std::error_code>& error) noexcept;
  bool finish_once(const message& m, const send_result& result,
                   std::optional<std::error_code>& error) noexcept;
  // Takes out the right that it holds.
  send_once_right take_once() noexcept;
  void release() noexcept;

  mach_port_name_t name_;
  std::uint32_t space_;
  kind holds_ = kind::none;
  bool was_dead_ = false;  // an empty reply right whose port had died
};

class send_operation final : private name_waiter {
 public:
  send_operation(destination&& to, message&& m) noexcept
      : to_(std::move(to)), message_(std::move(m)) {}
  send_operation(const send_operation&) = delete;
  send_operation& operator=(const send_operation&) = delete;
  ~send_operation() { leave(); }

  // Makes the message carry a send-once right to the port `name`, as its reply port. The kernel
  // makes the right when the message is sent. Throws std::bad_alloc.
  void set_reply_port(mach_port_name_t name);

  // Sends if that needs no wait.
  bool await_ready() noexcept {
    if (!message_ || reactor::current() == nullptr || has_predecessors()) return false;
    was_full_ = !attempt();
    return !was_full_;
  }
  bool await_suspend(waiter& w);
  bool await_settle() noexcept;
  bool await_cancel(cancel_cause) noexcept;
  // For with_timeout(): the unsent message is handed back.
  send_failure await_expired(kedge::errc e) && noexcept;
  result<void, send_failure> await_resume() {
    leave();
    if (error_) [[unlikely]]
      return unexpected(send_failure(*error_, std::move(message_)));
    return {};
  }
  void describe(description& line) const noexcept;

 private:
  bool attempt() noexcept { return to_.transmit(message_, error_); }
  // Returns true if other operations of the loop wait for room in the same queue.
  bool has_predecessors() noexcept {
    return name_watches::any_room_waiters() && has_predecessors(*reactor::current());
  }
  bool has_predecessors(const reactor& r) noexcept;
  bool request_room() noexcept;
  void on_notified(std::error_code error) noexcept override;

  destination to_;
  message message_;
  std::optional<std::error_code> error_;
  waiter* waiter_ = nullptr;
  bool was_full_ = false;  // await_ready() has found the queue full
};

class [[nodiscard]] send_awaitable {
 public:
  send_awaitable(destination&& to, message&& m) noexcept
      : to_(std::move(to)), message_(std::move(m)) {}
  send_operation operator co_await() && noexcept {
    return send_operation(std::move(to_), std::move(message_));
  }

 private:
  destination to_;
  message message_;
};

inline send_awaitable send(const send_right& to, message m) noexcept {
  return send_awaitable(destination(to), std::move(m));
}
inline send_awaitable send(send_right&& to, message m) noexcept {
  return send_awaitable(destination(std::move(to)), std::move(m));
}
inline send_awaitable send(send_once_right&& to, message m) noexcept {
  return send_awaitable(destination(std::move(to)), std::move(m));
}
// A reply never waits: a client could keep its queue full, and the service with it.
template <std::same_as<reply_right> Right>
send_awaitable send(Right&& to, message m) {
  static_assert(!std::same_as<Right, reply_right>,
                "a reply does not wait, and is not awaited: mach::reply(right, message)");
  return send_awaitable(destination(std::move(to)), std::move(m));
}

// Sends at once, or fails with errc::queue_full if the queue is full. The message may overtake
// those of waiting senders. Throws std::bad_alloc, and only if `m` is empty.
result<void, send_failure> try_send(destination to, message m);
inline result<void, send_failure> try_send(const send_right& to, message m) {
  return try_send(destination(to), std::move(m));
}
inline result<void, send_failure> try_send(send_right&& to, message m) {
  return try_send(destination(std::move(to)), std::move(m));
}
inline result<void, send_failure> try_send(send_once_right&& to, message m) {
  return try_send(destination(std::move(to)), std::move(m));
}
inline result<void, send_failure> try_send(reply_right&& to, message m) {
  return try_send(destination(std::move(to)), std::move(m));
}

}  // namespace kedge::mach
