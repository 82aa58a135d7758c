// select(a, b...): waits until one of several sources has something, and takes from exactly one.
//
//     const auto next = co_await kedge::select(jobs.receive(), stop.next(), kedge::sleep_for(1s));
//     if (const auto* const job = std::get_if<0>(&next)) ...     // a result<T>
//
// Gives a std::variant with the value of the source that was taken at its index: std::monostate for
// void, std::reference_wrapper<T> for T&. The others have had no effect: an item stays in its
// channel, bytes in their file, a signal is reported by a later wait. (when_any() in contrast lets
// several end, and gives all their values.)
//
// Fair: where several are ready at once, the loop's select()s begin at each source in turn.
//
// Accepted are waits that can be given up at any time: those on a channel, mutex, semaphore, event,
// latch or value, sleep_for(), sleep_until(), a descriptor's waits, signal_set::next() and
// receiving from a port. In terms of the protocol: an operation of kind `wait`, without
// was_cancelled(), with await_settle() or await_ended(). All else is a compile error: tasks and
// combinators have to be cancelled and awaited, which when_any() does.
//
// Awaiting throws what its sources throw. Cancellation loses what they declare: a send() that is
// not taken loses its item.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"

namespace kedge {

template <class Op>
concept selectable_operation = operation<Op> && kind_of<Op> == operation_kind::wait &&
                               !requires(const Op& op) { op.was_cancelled(); } && requires(Op& op) {
                                 requires requires {
                                   { op.await_settle() } noexcept -> std::same_as<bool>;
                                 } || requires {
                                   {
                                     std::as_const(op).await_ended()
                                   } noexcept -> std::same_as<bool>;
                                 };
                               };

template <awaitable... As>
class select_operation {
 public:
  using value = std::variant<typename result_detail::held<awaited_t<As>>::type...>;

  explicit select_operation(std::tuple<As...>&& sources)
      : select_operation(std::move(sources), std::index_sequence_for<As...>()) {}
  select_operation(const select_operation&) = delete;
  select_operation& operator=(const select_operation&) = delete;
  ~select_operation() {
    if (waiter_ != nullptr) give_up_all_but(none);
  }

  // Here the loop is not known, whose rotation decides.
  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w) {
    waiter_ = &w;
    start_ = w.owner_context().in_reactor().next_in_rotation(count);
    // A source that tries a transfer may run code of the user's, which may cancel this wait.
    is_asking_ = true;
    const bool ready = choose([](auto& op) noexcept { return op.await_ready(); });
    is_asking_ = false;
    if (ready || was_cancelled_) return false;
    return suspend_all(std::index_sequence_for<As...>());
  }
  bool await_settle() noexcept {
    if (choose_ended()) return true;
    const bool settled = choose([](auto& op) noexcept {
      if constexpr (requires { op.await_settle(); }) return op.await_settle();
      return false;
    });
    if (settled) return true;
    for_each([](std::size_t, auto& c) noexcept {
      if constexpr (requires { c.op().await_again(); }) c.op().await_again();
    });
    return choose_ended();
  }
  bool await_cancel(cancel_cause) noexcept {
    was_cancelled_ = true;
    if (is_asking_) return false;
    give_up_all_but(none);
    return true;
  }
  bool was_cancelled() const noexcept { return was_cancelled_ && chosen_ == none; }
  std::exception_ptr await_failure() noexcept {
    std::exception_ptr failure;
    for_each([&](std::size_t i, auto& c) noexcept {
      if constexpr (requires { c.op().await_failure(); }) {
        if (i == chosen_) failure = c.op().await_failure();
      }
    });
    return failure;
  }
  value await_resume() { return take<0>(); }
  void describe(description& line) const noexcept { line.print("one of %zu", count); }

 private:
  static constexpr std::size_t count = sizeof...(As);
  static constexpr std::size_t none = count;

  // One operation, until it is given up.
  template <class A>
  class cell {
   public:
    explicit cell(A&& a) : op_(std::move(a).operator co_await()) {}
    cell(const cell&) = delete;
    cell& operator=(const cell&) = delete;
    ~cell() { give_up(); }

    bool is_live() const noexcept { return is_live_; }
    operation_of<A>& op() noexcept { return op_; }
    // The destructor unlinks the operation, and returns what it was granted.
    void give_up() noexcept {
      if (std::exchange(is_live_, false)) std::destroy_at(&op_);
    }

   private:
    union {
      operation_of<A> op_;
    };
    bool is_live_ = true;
  };

  template <std::size_t... I>
  select_operation(std::tuple<As...>&& sources, std::index_sequence<I...>)
      : cells_(std::get<I>(std::move(sources))...) {}

  template <class F>
  void for_each(F f) {
    each(f, std::index_sequence_for<As...>());
  }
  template <class F, std::size_t... I>
  void each(F& f, std::index_sequence<I...>) {
    (f(I, std::get<I>(cells_)), ...);
  }

  // Asks each operation in rotation whether it has ended. Chooses the first one that has, and gives
  // the others up. Returns whether there is one.
  template <class Ask>
  bool choose(Ask ask) noexcept {
    for (const bool from_start : {true, false}) {
      for_each([&](std::size_t i, auto& c) noexcept {
        if (chosen_ != none || was_cancelled_ || (i >= start_) != from_start) return;
        if (ask(c.op())) chosen_ = i;
      });
    }
    if (chosen_ == none) return false;
    give_up_all_but(chosen_);
    return true;
  }

  bool choose_ended() noexcept {
    return choose([](auto& op) noexcept {
      if constexpr (requires { op.await_ended(); }) return op.await_ended();
      return false;
    });
  }

  template <std::size_t... I>
  bool suspend_all(std::index_sequence<I...>) {
    try {
      const auto waits = [&](std::size_t i, auto& op) {
        if (op.await_suspend(*waiter_)) return true;
        chosen_ = i;
        return false;
      };
      if ((waits(I, std::get<I>(cells_).op()) && ...)) return true;
    } catch (...) {
      give_up_all_but(none);
      throw;
    }
    give_up_all_but(chosen_);
    return false;
  }

  void give_up_all_but(std::size_t index) noexcept {
    for_each([&](std::size_t i, auto& c) noexcept {
      if (i != index) c.give_up();
    });
    // What one had been granted may have been handed to another one.
    waiter_->unlink();
  }

  template <std::size_t I>
  value take() {
    if constexpr (I + 1 < count) {
      if (chosen_ != I) return take<I + 1>();
    }
    auto& op = std::get<I>(cells_).op();
    if constexpr (std::is_void_v<decltype(op.await_resume())>) {
      op.await_resume();
      return value(std::in_place_index<I>);
    } else {
      return value(std::in_place_index<I>, op.await_resume());
    }
  }

  std::tuple<cell<As>...> cells_;
  waiter* waiter_ = nullptr;
  std::size_t start_ = 0;
  std::size_t chosen_ = none;
  bool is_asking_ = false;
  bool was_cancelled_ = false;
};

template <awaitable... As>
class [[nodiscard]] select_awaitable {
 public:
  explicit select_awaitable(As&&... as) : sources_(std::move(as)...) {}
  select_operation<As...> operator co_await() && {
    return select_operation<As...>(std::move(sources_));
  }

 private:
  std::tuple<As...> sources_;
};

template <called_awaitable... As>
  requires(sizeof...(As) > 0)
select_awaitable<As...> select(As&&... as) {
  static_assert((selectable_operation<operation_of<As>> && ...),
                "kedge: select() takes waits that can be given up at any time, such as receive(), "
                "lock(), sleep_for(): await tasks, combinators and all else by when_any()");
  return select_awaitable<As...>(std::move(as)...);
}

}  // namespace kedge
