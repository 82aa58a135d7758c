// when_any(a, b...): awaits its awaitables concurrently until the first has ended.
//
//     const auto [status, signal] = co_await kedge::when_any(serve(loop), stop.next());
//
// Gives a tuple of std::optional, of which at least one holds a value. More of them do if another
// awaitable ended before it could be cancelled. The value of a void awaitable is std::monostate.
//
// when_any(v) does the same with a std::vector of awaitables, and gives a std::vector.
//
// The others are cancelled *and awaited*: none of them runs after when_any has ended. If one fails,
// when_any throws the exception of the first failure. A cancellation from outside cancels all; if
// none had a value, the caller ends as cancelled. The value of an awaitable that gives a T& is a
// std::reference_wrapper<T>. Cancelling the others loses what each of them declares.
#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/runtime/awaiting/branch_group.h"
#include "kedge/runtime/awaiting/branch_range.h"
#include "kedge/runtime/awaiting/branch_set.h"

namespace kedge {

// What when_any does with its branches, of any Group.
template <class Group>
class any_of : public branch_set<Group> {
 public:
  bool was_cancelled() const noexcept { return !is_decided_; }
  void describe(description& line) const noexcept { line.print("any of %zu", this->count); }

 protected:
  using branch_set<Group>::branch_set;
  ~any_of() = default;

  bool begin(waiter& w) noexcept {
    return this->start(w, [this] { return is_decided_; });
  }
  template <class Value, class Branch>
  static std::optional<Value> value_if_any(Branch& b) {
    if (b.ended() != outcome::value) return std::nullopt;
    return std::optional<Value>(tuple_value_of(b));
  }

 private:
  waiter* branch_done(branch_base& b) noexcept override {
    this->note_failure(b);
    if (b.ended() != outcome::cancelled && !is_decided_) {
      is_decided_ = true;
      const bool failed = b.ended() == outcome::failed;
      this->cancel_beside(b, failed ? cancel_cause::failure : cancel_cause::superseded);
    }
    return this->one_done();
  }
  const char* branch_name() const noexcept override { return "when_any"; }

  bool is_decided_ = false;
};

template <awaitable... As>
class when_any_operation final : public any_of<branch_group<As...>> {
  using values = std::tuple<std::optional<any_value_t<As>>...>;

 public:
  explicit when_any_operation(std::tuple<As...>&& awaitables)
      : any_of<branch_group<As...>>(std::move(awaitables)) {}

  bool await_suspend(waiter& w) noexcept { return this->begin(w); }
  values await_resume() {
    this->require_values();
    return take(std::index_sequence_for<As...>());
  }

 private:
  template <std::size_t... I>
  values take(std::index_sequence<I...>) {
    return {this->template value_if_any<any_value_t<As>>(this->template at<I>())...};
  }
};

template <awaitable A>
class when_any_range_operation final : public any_of<branch_range<A>> {
  using values = std::vector<std::optional<any_value_t<A>>>;

 public:
  explicit when_any_range_operation(std::vector<A>&& awaitables) noexcept
      : any_of<branch_range<A>>(std::move(awaitables)) {}

  // Reserves the room for the values, which are not lost for want of memory then.
  bool await_suspend(waiter& w) {
    values_.reserve(this->count);
    this->make_branches();
    return this->begin(w);
  }
  values await_resume() {
    this->require_values();
    this->for_each(
        [this](auto& b) { values_.push_back(this->template value_if_any<any_value_t<A>>(b)); });
    return std::move(values_);
  }

 private:
  values values_;
};

template <awaitable... As>
class [[nodiscard]] when_any_awaitable {
 public:
  explicit when_any_awaitable(As&&... as) : awaitables_(std::move(as)...) {}
  when_any_operation<As...> operator co_await() && {
    return when_any_operation<As...>(std::move(awaitables_));
  }

 private:
  std::tuple<As...> awaitables_;
};

template <called_awaitable... As>
  requires(sizeof...(As) > 0)
when_any_awaitable<As...> when_any(As&&... as) {
  return when_any_awaitable<As...>(std::move(as)...);
}

template <awaitable A>
class [[nodiscard]] when_any_range_awaitable {
 public:
  explicit when_any_range_awaitable(std::vector<A>&& awaitables)
      : awaitables_(std::move(awaitables)) {
    if (awaitables_.empty()) throw std::invalid_argument("kedge: when_any() of nothing never ends");
  }
  when_any_range_operation<A> operator co_await() && {
    return when_any_range_operation<A>(std::move(awaitables_));
  }

 private:
  std::vector<A> awaitables_;
};

// Awaits the awaitables of `awaitables` until the first has ended, and gives a vector of
// std::optional in their order. Throws std::invalid_argument if there are none. Awaiting it throws
// std::bad_alloc.
template <awaitable A>
when_any_range_awaitable<A> when_any(std::vector<A>&& awaitables) {
  return when_any_range_awaitable<A>(std::move(awaitables));
}

}  // namespace kedge
