// callback<T>(start): awaits a function that reports its end by a callback.
//
//     const auto ask = [&](kedge::callback_handler<int> done) { client.ask(question, done); };
//     const int answer = co_await kedge::callback<int>(ask);
//
// start(handler) registers the callback. The handler is a small copyable function object, which
// takes a T (of callback<void>: nothing). The wait ends with the value of the first call. A C
// library gets the handler as the pointer that it hands to its callback:
//
//     const auto start = [&](kedge::callback_handler<int> done) {
//       ares_query(c, name, [](void* p, int n) { kedge::callback_handler<int>::adopt(p)(n); },
//                  std::move(done).release());
//     };
//
// The handler may be called by start() itself, later, or when the wait has gone: then nothing
// happens. The result is delivered once: later calls have no effect. If start() throws, the wait
// throws that. If the last handler is destroyed without a call, the wait throws std::system_error
// (errc::closed), since it would never end.
//
// Cancellation: without a second argument the wait ends and loses the result; the registered
// callback stays, so it must not refer to the caller. With one, callback<T>(start, cancel),
// cancel() is called at the turn of the cancelled caller, or when the loop is destroyed: it takes
// the registration back, and must not throw (std::terminate). It is not called if there is a
// result: that stands.
//
// Threads: the loop's thread only, the handler too; for a callback on another thread post to the
// loop by a remote (see remote.h). Awaiting it throws std::bad_alloc.
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/frame_recycler.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

template <class T, class Start, class Cancel>
class callback_operation;

namespace callback_detail {

// What a wait and its handlers share. The last of them releases it.
template <class T>
struct state {
  static void* operator new(std::size_t size) { return frame_recycler::allocate(size); }
  static void operator delete(void* block, std::size_t size) noexcept {
    frame_recycler::release(block, size);
  }
  bool is_over() const noexcept { return value || handlers == 0; }
  void wake_waiter() noexcept {
    if (waiting != nullptr) wake(*waiting);
  }

  unsigned handlers = 0;
  bool is_awaited = true;     // its operation exists
  waiter* waiting = nullptr;  // null while start() runs
  std::optional<std::conditional_t<std::is_void_v<T>, std::monostate, T>> value;
};

}  // namespace callback_detail

template <class T>
class callback_handler {
  using state = callback_detail::state<T>;

 public:
  callback_handler(const callback_handler& other) noexcept : state_(other.state_) { retain(); }
  callback_handler(callback_handler&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)) {}
  callback_handler& operator=(callback_handler other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~callback_handler() {
    if (state_ == nullptr || --state_->handlers != 0) return;
    state_->is_awaited ? state_->wake_waiter() : delete state_;
  }

  // Ends the wait. No effect if it has gone, or has a result. A handler that was moved from must
  // not be called.
  template <class U>
    requires(std::is_constructible_v<T, U>)
  void operator()(U&& value) const {
    if (!state_->is_awaited || state_->value) return;
    state_->value.emplace(std::forward<U>(value));
    state_->wake_waiter();
  }
  void operator()() const noexcept
    requires(std::is_void_v<T>)
  {
    if (!state_->is_awaited || state_->value) return;
    state_->value.emplace();
    state_->wake_waiter();
  }

  // Gives the handler away as a pointer that is not null. adopt() takes it back, exactly once.
  void* release() && noexcept { return std::exchange(state_, nullptr); }
  static callback_handler adopt(void* released) noexcept {
    return callback_handler(static_cast<state*>(released));
  }

 private:
  template <class, class, class>
  friend class callback_operation;
  explicit callback_handler(state* adopted) noexcept : state_(adopted) {}
  void retain() const noexcept {
    if (state_ != nullptr) ++state_->handlers;
  }
  state* state_;
};

template <class T, class Start, class Cancel>
class callback_operation {
  static constexpr bool can_cancel = !std::is_same_v<Cancel, std::nullptr_t>;

 public:
  callback_operation(Start&& start, Cancel&& cancel)
      : start_(std::move(start)), cancel_(std::move(cancel)) {}
  callback_operation(const callback_operation&) = delete;
  callback_operation& operator=(const callback_operation&) = delete;
  ~callback_operation() {
    if (state_ == nullptr) return;
    take_back();
    leave();
  }

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w) {
    state_ = new callback_detail::state<T>;
    state_->handlers = 1;
    try {
      start_(callback_handler<T>(state_));
    } catch (...) {
      leave();
      throw;
    }
    state_->waiting = &w;
    if (!asked_to_end_) return !state_->is_over();
    was_cancelled_ = take_back();
    return false;
  }
  // cancel() is code of the user's, so it has to wait for the waiter's turn.
  bool await_cancel(cancel_cause) noexcept {
    if (state_->waiting == nullptr) {  // by start()
      asked_to_end_ = true;
      return false;
    }
    if (can_cancel) {
      wake(*state_->waiting);
      return false;
    }
    leave();
    return true;
  }
  bool await_settle() noexcept {
    was_cancelled_ = take_back();
    return true;
  }
  bool was_cancelled() const noexcept { return was_cancelled_; }
  std::exception_ptr await_failure() noexcept {
    return state_->value ? nullptr : std::make_exception_ptr(dropped());
  }
  T await_resume() {
    if (!state_->value) throw dropped();
    if constexpr (!std::is_void_v<T>) return *std::move(state_->value);
  }
  void describe(description& line) const noexcept { line.print("a callback"); }

 private:
  // Cancels the registration of a wait that has no result. Returns false if there is nothing to
  // cancel. The handler may be called within cancel().
  bool take_back() noexcept {
    if (std::exchange(state_->waiting, nullptr) == nullptr || state_->is_over()) return false;
    if constexpr (can_cancel) cancel_();
    return true;
  }
  static std::system_error dropped() {
    return std::system_error(make_error_code(errc::closed),
                             "kedge::callback: its handler was destroyed without a call");
  }
  void leave() noexcept {
    auto* const left = std::exchange(state_, nullptr);
    left->is_awaited = false;
    if (left->handlers == 0) delete left;
  }

  [[no_unique_address]] Start start_;
  [[no_unique_address]] Cancel cancel_;
  callback_detail::state<T>* state_ = nullptr;
  bool was_cancelled_ = false;
  bool asked_to_end_ = false;  // while start() ran
};

template <class T, class Start, class Cancel>
class [[nodiscard]] callback_awaitable {
 public:
  template <class S, class C>
  callback_awaitable(std::in_place_t, S&& start, C&& cancel)
      : start_(std::forward<S>(start)), cancel_(std::forward<C>(cancel)) {}
  callback_operation<T, Start, Cancel> operator co_await() && {
    return callback_operation<T, Start, Cancel>(std::move(start_), std::move(cancel_));
  }

 private:
  [[no_unique_address]] Start start_;
  [[no_unique_address]] Cancel cancel_;
};

template <class T, class Start, class Cancel = std::nullptr_t>
callback_awaitable<T, std::decay_t<Start>, std::decay_t<Cancel>> callback(
    Start&& start, Cancel&& cancel = nullptr) {
  static_assert(!std::is_reference_v<T>, "kedge: a callback gives an object, or nothing");
  static_assert(std::is_invocable_v<std::decay_t<Start>&, callback_handler<T>>,
                "kedge: callback() calls start(callback_handler<T>)");
  KEDGE_CHECK_CLOSURE(Start);
  KEDGE_CHECK_CLOSURE(Cancel);
  return {std::in_place, std::forward<Start>(start), std::forward<Cancel>(cancel)};
}

}  // namespace kedge
