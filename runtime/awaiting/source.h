// source: the common part of mutex, event, semaphore, channel and their like: operations that wait
// in the FIFO of an object of the program's own.
//
// The object holds a *state*, which its awaitables and operations hold too: dropping the object
// closes the state. A *request* says what an operation wants of a state. source_operation<Request>
// is the operation, and waits in a wait_queue of the state. A state hands what it has to the
// operation that has waited longest (it *grants* it), and wakes the waiter. It passes over an
// operation whose waiter is queued already: another source of a select() has woken it. What was
// granted and not consumed is given back to the state, which hands it to the next one.
//
// A Request has, beside what `request` gives it:
//   bool try_take() noexcept       takes from the state if that is possible without waiting
//   wait_queue& queue() noexcept   where the operation waits
//   R take()                       gives the result of a granted request
//   R refusal()                    gives the result of one that was refused: the state is closed
//   void give_back() noexcept      [optional] returns what was granted
//   void left() noexcept           [optional] the operation has left the queue, ungranted
//   serve() of its state           [for select()] hands what the state has to those that wait
//   name, aim                      what the operation is called in errors and in dumps
//
// Threads: the loop's thread only.
#pragma once

#include <system_error>
#include <utility>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/reactor/ready_queue.h"
#include "kedge/runtime/result.h"

namespace kedge {

// One operation in the queue of a source.
class queued_operation : public ready_node {
 protected:
  enum class stage : unsigned char { pending, granted, refused, consumed };

  queued_operation() = default;
  ~queued_operation() = default;

  waiter* waiter_ = nullptr;
  stage stage_ = stage::pending;

 private:
  friend class wait_queue;
};

// The operations that wait for a source, the oldest first.
class wait_queue : private ready_queue<queued_operation> {
 public:
  using ready_queue::empty;
  using ready_queue::push_back;

  // Returns the oldest operation that can be granted, or null.
  queued_operation* first() const noexcept {
    queued_operation* op = front();
    while (op != nullptr && op->waiter_->queued()) [[unlikely]]
      op = after(*op);
    return op;
  }
  // The same, but none of the waiter of `other`: a select() does not meet itself.
  queued_operation* first_beside(const queued_operation& other) const noexcept {
    queued_operation* op = front();
    while (op != nullptr && (op->waiter_->queued() || op->waiter_ == other.waiter_))
      op = after(*op);
    return op;
  }
  // Requires an operation of one of these two.
  void grant(queued_operation& op) noexcept { end(op, queued_operation::stage::granted); }
  // For what all can have: grants it also to those whose waiter is queued, by a false alarm.
  void grant_all() noexcept {
    while (queued_operation* const op = front()) grant(*op);
  }
  void refuse_all() noexcept { end_all(queued_operation::stage::refused); }
  // Wakes the waiters. The operations stay in the queue.
  void wake_all() noexcept {
    for (queued_operation* op = front(); op != nullptr; op = after(*op)) wake(*op->waiter_);
  }

 private:
  void end(queued_operation& op, queued_operation::stage how) noexcept {
    op.unlink();
    op.stage_ = how;
    wake(*op.waiter_);
  }
  void end_all(queued_operation::stage how) noexcept {
    for (queued_operation* op = front(); op != nullptr;) {
      queued_operation* const next = after(*op);
      if (!op->waiter_->queued()) end(*op, how);
      op = next;
    }
  }
};

// The base of the states.
class source_state {
 public:
  source_state(const source_state&) = delete;
  source_state& operator=(const source_state&) = delete;

  bool is_closed() const noexcept { return static_cast<bool>(end_); }
  // Why the source is closed. No error if it is open.
  const std::error_code& end() const noexcept { return end_; }

 protected:
  source_state() = default;
  ~source_state() = default;

  std::error_code end_;

 private:
  template <class State>
  friend class source_hold;
  unsigned holds_ = 0;
};

// A share in a state, which the last share deletes. Null when moved from.
template <class State>
class source_hold {
 public:
  source_hold() = default;
  explicit source_hold(State* s) noexcept : state_(s) { ++state_->source_state::holds_; }
  source_hold(const source_hold& other) noexcept : source_hold(other.state_) {}
  source_hold(source_hold&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  source_hold& operator=(source_hold other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~source_hold() {
    if (state_ != nullptr && --state_->source_state::holds_ == 0) delete state_;
  }

  State* operator->() const noexcept { return state_; }
  State& operator*() const noexcept { return *state_; }
  explicit operator bool() const noexcept { return state_ != nullptr; }

 private:
  State* state_ = nullptr;
};

// The object's own share. Its destructor closes the state.
template <class State>
class source_owner {
 public:
  template <class... Args>
  explicit source_owner(std::in_place_t, Args&&... args)
      : hold_(new State(std::forward<Args>(args)...)) {}
  source_owner(const source_owner&) = delete;
  source_owner& operator=(const source_owner&) = delete;
  ~source_owner() { hold_->abandon(); }

  State* operator->() const noexcept { return &*hold_; }
  const source_hold<State>& hold() const noexcept { return hold_; }

 private:
  source_hold<State> hold_;
};

// A state with one queue.
class queue_state : public source_state {
 public:
  // The object is gone: the operations that wait get errc::closed, and so will later ones.
  void abandon() noexcept {
    end_ = errc::closed;
    waiting.refuse_all();
  }

  wait_queue waiting;
};

// The base of requests.
template <class State>
class request {
 public:
  State& source() const noexcept { return *source_; }
  wait_queue& queue() const noexcept { return source_->waiting; }

 protected:
  explicit request(source_hold<State> s) noexcept : source_(std::move(s)) {}
  request(request&&) noexcept = default;
  ~request() = default;

  unexpected<std::error_code> closed(const char* name) const noexcept {
    return unexpected(source_->end(), failed_operation{name});
  }

  source_hold<State> source_;
};

template <class Request>
class source_operation final : public queued_operation {
 public:
  explicit source_operation(Request&& r) noexcept : request_(std::move(r)) {}
  source_operation(const source_operation&) = delete;
  source_operation& operator=(const source_operation&) = delete;
  ~source_operation() {
    if (stage_ != stage::consumed) [[unlikely]]
      abandon();
  }

  Request& wanted() noexcept { return request_; }

  bool await_ready() noexcept {
    if (request_.try_take()) {
      stage_ = stage::granted;
    } else if (request_.source().is_closed()) [[unlikely]] {
      stage_ = stage::refused;
    } else {
      return false;
    }
    return true;
  }
  bool await_suspend(waiter& w) noexcept {
    waiter_ = &w;
    request_.queue().push_back(*this);
    return true;
  }
  bool await_ended() const noexcept
    requires requires(Request& r) { r.source().serve(); }
  {
    return !queued();
  }
  void await_again() noexcept {
    request_.source().serve();
    if (queued() && request_.source().is_closed()) {
      unlink();
      stage_ = stage::refused;
    }
  }
  bool await_cancel(cancel_cause) noexcept {
    leave();
    return true;
  }
  auto await_expired(errc why) && noexcept
    requires requires(Request& r) { r.expired(why); }
  {
    return request_.expired(why);
  }
  auto await_resume() {
    if (stage_ == stage::granted) [[likely]] {
      stage_ = stage::consumed;
      return request_.take();
    }
    return request_.refusal();
  }
  void describe(description& line) const noexcept { line.print("%s", Request::aim); }

 private:
  // Ends without a result. Out of line, to keep the code of each await small.
  [[gnu::noinline]] void abandon() noexcept {
    leave();
    if constexpr (requires { request_.give_back(); }) {
      if (stage_ == stage::granted) request_.give_back();
    }
  }
  void leave() noexcept {
    if (!queued()) return;
    unlink();
    if constexpr (requires { request_.left(); }) request_.left();
  }

  Request request_;
};

template <class Request>
class [[nodiscard]] source_awaitable {
 public:
  explicit source_awaitable(Request&& r) noexcept : request_(std::move(r)) {}
  source_operation<Request> operator co_await() && noexcept {
    return source_operation<Request>(std::move(request_));
  }

 private:
  Request request_;
};

// Throws std::system_error: `function` was called with what `e` says.
[[noreturn]] void refuse_argument(std::errc e, const char* function);

}  // namespace kedge
