// branch_group<As...>: a fixed number of branches that run concurrently; the base of when_all and
// when_any.
//
// Threads: the loop's thread only.
#pragma once

#include <array>
#include <cstddef>
#include <exception>
#include <tuple>
#include <utility>
#include <variant>

#include "kedge/runtime/awaiting/branch.h"

namespace kedge {

template <awaitable... As>
class branch_group : protected branch_owner {
 protected:
  using outcome = branch_base::outcome;
  static constexpr std::size_t count = sizeof...(As);

  explicit branch_group(std::tuple<As...>&& awaitables)
      : branch_group(std::move(awaitables), std::index_sequence_for<As...>()) {}
  ~branch_group() = default;

  template <std::size_t I>
  auto& at() noexcept {
    return static_cast<cell<I, std::tuple_element_t<I, std::tuple<As...>>>&>(cells_).held;
  }

  // Starts the branches in order, until stop() returns true. Returns false if all branches that
  // were started have ended.
  template <class Stop>
  bool start(waiter& w, Stop stop) noexcept {
    waiter_ = &w;
    running_ = count + 1;
    start_each(stop, std::index_sequence_for<As...>());
    return --running_ != 0;
  }

  // Cancels all branches but `except`.
  void cancel_branches(cancel_cause cause, const branch_base* except = nullptr) noexcept {
    for (branch_base* b : branches_) {
      if (b != except && b->bound()) b->cancel(cause);
    }
  }

  // Must be called once by each branch_done(). The last call makes the awaiter ready.
  void one_done() noexcept {
    if (--running_ == 0) wake(*waiter_);
  }

  bool any_ended(outcome o) const noexcept {
    for (const branch_base* b : branches_) {
      if (b->ended() == o) return true;
    }
    return false;
  }

  waiter& awaited_by() const noexcept { return *waiter_; }

 public:
  branch_group(const branch_group&) = delete;
  branch_group& operator=(const branch_group&) = delete;

  bool await_ready() const noexcept { return false; }

  context* next_branch(const context* previous) const noexcept {
    bool found = previous == nullptr;
    for (branch_base* b : branches_) {
      if (found && b->suspended_on() != nullptr) return b;
      if (b == previous) found = true;
    }
    return nullptr;
  }

 private:
  template <std::size_t I, class A>
  struct cell {
    template <class T>
    cell(T&& awaitables, branch_owner& holder) : held(std::get<I>(std::move(awaitables)), holder) {}
    branch<operation_of<A>> held;
  };
  template <class Indices>
  struct cell_list;
  template <std::size_t... I>
  struct cell_list<std::index_sequence<I...>> : cell<I, As>... {
    cell_list(std::tuple<As...>&& awaitables, branch_owner& holder)
        : cell<I, As>(std::move(awaitables), holder)... {}
  };

  template <std::size_t... I>
  branch_group(std::tuple<As...>&& awaitables, std::index_sequence<I...>)
      : cells_(std::move(awaitables), *this), branches_{&at<I>()...} {}

  template <class Stop, std::size_t... I>
  void start_each(Stop stop, std::index_sequence<I...>) noexcept {
    (start_one(stop, at<I>()), ...);
  }
  template <class Stop, class Branch>
  void start_one(Stop& stop, Branch& b) noexcept {
    if (stop()) {
      --running_;
    } else {
      b.bind(waiter_->owner_context().in_reactor(), &waiter_->owner_context());
      b.start();
    }
  }

  cell_list<std::index_sequence_for<As...>> cells_;
  std::array<branch_base*, count> branches_;
  waiter* waiter_ = nullptr;
  std::size_t running_ = 0;
};

// The type of an awaitable's value in a tuple: std::monostate for void.
template <class T>
struct tuple_value {
  using type = T;
};
template <>
struct tuple_value<void> {
  using type = std::monostate;
};
template <awaitable A>
using tuple_value_t = typename tuple_value<awaited_t<A>>::type;

template <class Branch>
decltype(auto) tuple_value_of(Branch& b) {
  if constexpr (std::is_void_v<decltype(b.result())>) {
    b.result();
    return std::monostate();
  } else {
    return b.result();
  }
}

}  // namespace kedge
