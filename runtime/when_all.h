// when_all(a, b...): awaits all of its awaitables concurrently; gives the tuple of their values.
//
//     const auto [line, reply] = co_await kedge::when_all(read_line(in), ask(peer));
//
// when_all(v) does the same with a std::vector of awaitables, and gives a std::vector.
//
// The value of a void awaitable is std::monostate. The first failure cancels the others; when all
// have ended, when_all throws the exception of that failure. A cancellation from outside cancels
// all; if one of them was cancelled before it had a value, the caller ends as cancelled.
// Cancellation loses the values of those that had ended, and what the others declare.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/runtime/awaiting/branch_group.h"
#include "kedge/runtime/awaiting/branch_range.h"
#include "kedge/runtime/awaiting/branch_set.h"

namespace kedge {

// What when_all does with its branches, of any Group.
template <class Group>
class all_of : public branch_set<Group> {
 public:
  bool was_cancelled() const noexcept { return !this->has_failed() && any_cancelled_; }
  void describe(description& line) const noexcept { line.print("all of %zu", this->count); }

 protected:
  using branch_set<Group>::branch_set;
  ~all_of() = default;

  bool begin(waiter& w) noexcept {
    return this->start(w, [this] { return this->has_failed(); });
  }

 private:
  waiter* branch_done(branch_base& b) noexcept override {
    if (b.ended() == outcome::cancelled) any_cancelled_ = true;
    if (this->note_failure(b)) this->cancel_beside(b, cancel_cause::failure);
    return this->one_done();
  }
  const char* branch_name() const noexcept override { return "when_all"; }

  bool any_cancelled_ = false;
};

template <awaitable... As>
class when_all_operation final : public all_of<branch_group<As...>> {
  using values = std::tuple<tuple_value_t<As>...>;

 public:
  explicit when_all_operation(std::tuple<As...>&& awaitables)
      : all_of<branch_group<As...>>(std::move(awaitables)) {}

  bool await_suspend(waiter& w) noexcept { return this->begin(w); }
  values await_resume() {
    this->require_values();
    return take(std::index_sequence_for<As...>());
  }

 private:
  template <std::size_t... I>
  values take(std::index_sequence<I...>) {
    return values{tuple_value_of(this->template at<I>())...};
  }
};

template <awaitable A>
class when_all_range_operation final : public all_of<branch_range<A>> {
  using values = std::vector<any_value_t<A>>;

 public:
  explicit when_all_range_operation(std::vector<A>&& awaitables) noexcept
      : all_of<branch_range<A>>(std::move(awaitables)) {}

  // Reserves the room for the values, which are not lost for want of memory then.
  bool await_suspend(waiter& w) {
    values_.reserve(this->count);
    this->make_branches();
    return this->begin(w);
  }
  values await_resume() {
    this->require_values();
    this->for_each([this](auto& b) { values_.push_back(tuple_value_of(b)); });
    return std::move(values_);
  }

 private:
  values values_;
};

template <awaitable... As>
class [[nodiscard]] when_all_awaitable {
 public:
  explicit when_all_awaitable(As&&... as) : awaitables_(std::move(as)...) {}
  when_all_operation<As...> operator co_await() && {
    return when_all_operation<As...>(std::move(awaitables_));
  }

 private:
  std::tuple<As...> awaitables_;
};

template <called_awaitable... As>
  requires(sizeof...(As) > 0)
when_all_awaitable<As...> when_all(As&&... as) {
  return when_all_awaitable<As...>(std::move(as)...);
}

template <awaitable A>
class [[nodiscard]] when_all_range_awaitable {
 public:
  explicit when_all_range_awaitable(std::vector<A>&& awaitables) noexcept
      : awaitables_(std::move(awaitables)) {}
  when_all_range_operation<A> operator co_await() && {
    return when_all_range_operation<A>(std::move(awaitables_));
  }

 private:
  std::vector<A> awaitables_;
};

// Awaits all awaitables of `awaitables`, and gives the vector of their values, in their order. An
// empty vector gives an empty one at once. Awaiting it throws std::bad_alloc.
template <awaitable A>
when_all_range_awaitable<A> when_all(std::vector<A>&& awaitables) {
  return when_all_range_awaitable<A>(std::move(awaitables));
}

}  // namespace kedge
