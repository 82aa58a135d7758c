// value<T>: a variable that tasks watch: they wait until a predicate of theirs holds for it.
//
//     kedge::value<int> connections(0);
//     static_cast<void>(co_await connections.until([](int n) { return n == 0; }));
//     connections.update([](int& n) { --n; });   // elsewhere
//
// A predicate is called when its task has its turn, with the value that is current then. So a value
// that was replaced before that turn is not seen; a channel carries each of several values.
//
// Threads: the loop's thread only.
#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>
#include <variant>

#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/awaiting/source.h"

namespace kedge {

namespace value_detail {

template <class T>
struct state : queue_state {
  explicit state(T&& v) : current(std::move(v)) {}
  T current;
};

}  // namespace value_detail

template <class T, class Predicate>
class until_operation final : public queued_operation {
  using state = value_detail::state<T>;

 public:
  until_operation(source_hold<state>&& s, Predicate&& p)
      : source_(std::move(s)), predicate_(std::move(p)) {}
  until_operation(const until_operation&) = delete;
  until_operation& operator=(const until_operation&) = delete;
  ~until_operation() { unlink(); }

  bool await_ready() noexcept { return source_->is_closed() || test(); }
  bool await_suspend(waiter& w) noexcept {
    waiter_ = &w;
    source_->waiting.push_back(*this);
    return true;
  }
  bool await_settle() noexcept {
    if (!source_->is_closed() && !test()) return false;
    unlink();
    return true;
  }
  bool await_cancel(cancel_cause) noexcept {
    unlink();
    return true;
  }
  std::exception_ptr await_failure() noexcept {
    const auto* const thrown = std::get_if<std::exception_ptr>(&end_);
    return thrown != nullptr ? *thrown : nullptr;
  }
  result<T> await_resume() {
    if (T* const seen = std::get_if<1>(&end_)) return std::move(*seen);
    if (const std::exception_ptr thrown = await_failure()) std::rethrow_exception(thrown);
    return unexpected(source_->end(), failed_operation{"value::until"});
  }
  void describe(description& line) const noexcept { line.print("a value"); }

 private:
  // Returns true if the predicate holds, or throws.
  bool test() noexcept {
    try {
      if (!std::invoke(predicate_, std::as_const(source_->current))) return false;
      end_.template emplace<1>(source_->current);
    } catch (...) {
      end_.template emplace<2>(std::current_exception());
    }
    return true;
  }

  source_hold<state> source_;
  [[no_unique_address]] Predicate predicate_;
  std::variant<std::monostate, T, std::exception_ptr> end_;
};

template <class T, class Predicate>
class [[nodiscard]] until_awaitable {
  using state = value_detail::state<T>;

 public:
  template <class P>
  until_awaitable(source_hold<state> s, P&& p)
      : source_(std::move(s)), predicate_(std::forward<P>(p)) {}
  until_operation<T, Predicate> operator co_await() && {
    return until_operation<T, Predicate>(std::move(source_), std::move(predicate_));
  }

 private:
  source_hold<state> source_;
  [[no_unique_address]] Predicate predicate_;
};

template <std::copy_constructible T>
class value {
  using state = value_detail::state<T>;

 public:
  // Throws std::bad_alloc, and what moving the initial value throws.
  explicit value(T initial) : state_(std::in_place, std::move(initial)) {}
  value(const value&) = delete;
  value& operator=(const value&) = delete;
  // Ends waits in progress, and awaitables that have not been awaited, with errc::closed.
  ~value() = default;

  const T& get() const noexcept { return state_->current; }
  // Throws what assigning throws; no task looks at the value then.
  void set(T v) {
    state_->current = std::move(v);
    state_->waiting.wake_all();
  }
  // Changes the value by change(T&). Throws what that throws, after the tasks have been woken.
  template <std::invocable<T&> F>
  void update(F&& change) {
    const waking scope(*state_.operator->());
    std::invoke(std::forward<F>(change), state_->current);
  }

  // Waits until holds(const T&) is true for the value, at once if it is. Gives a copy of that
  // value, or errc::closed if the object is destroyed first. What the predicate or the copying
  // throws is thrown by the co_await. The predicate must not use this object. Cancellation loses
  // nothing.
  template <std::predicate<const T&> F>
  until_awaitable<T, std::decay_t<F>> until(F&& holds) {
    KEDGE_CHECK_CLOSURE(F);
    return {state_.hold(), std::forward<F>(holds)};
  }

 private:
  class waking {
   public:
    explicit waking(state& s) noexcept : state_(s) {}
    waking(const waking&) = delete;
    waking& operator=(const waking&) = delete;
    ~waking() { state_.waiting.wake_all(); }

   private:
    state& state_;
  };

  source_owner<state> state_;
};

}  // namespace kedge
