// when_all(a, b...): awaits all of its awaitables concurrently; gives the tuple of their values.
//
//     const auto [line, reply] = co_await kedge::when_all(read_line(in), ask(peer));
//
// The value of a void awaitable is std::monostate. The first failure cancels the others; when all
// have ended, when_all throws the exception of that failure. A cancellation from outside cancels
// all; if one of them was cancelled before it had a value, when_all throws `cancelled`.
// Cancellation loses the values of those that had ended, and what the others declare.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/branch_group.h"

namespace kedge {

template <awaitable... As>
class when_all_operation final : public branch_group<As...> {
  using group = branch_group<As...>;
  using outcome = branch_base::outcome;

 public:
  explicit when_all_operation(std::tuple<As...>&& awaitables) : group(std::move(awaitables)) {}

  bool await_suspend(waiter& w) noexcept {
    return this->start(w, [this] { return failed_ != nullptr; });
  }
  bool await_cancel(cancel_cause) noexcept {
    this->cancel_branches(this->awaited_by().owner_context().cause());
    return false;
  }
  bool was_cancelled() const noexcept {
    return failed_ == nullptr && this->any_ended(outcome::cancelled);
  }
  bool await_failed() const noexcept { return failed_ != nullptr; }

  std::tuple<tuple_value_t<As>...> await_resume() { return take(std::index_sequence_for<As...>()); }
  void describe(description& line) const noexcept { line.print("all of %zu", sizeof...(As)); }

 private:
  void branch_done(branch_base& b) noexcept override {
    if (b.ended() == outcome::failed && failed_ == nullptr) {
      failed_ = &b;
      this->cancel_branches(cancel_cause::failure, &b);
    }
    this->one_done();
  }

  template <std::size_t... I>
  std::tuple<tuple_value_t<As>...> take(std::index_sequence<I...>) {
    if (failed_ != nullptr) (rethrow_if_first(this->template at<I>()), ...);
    if (was_cancelled()) throw cancelled(this->awaited_by().owner_context().cause());
    return std::tuple<tuple_value_t<As>...>{tuple_value_of(this->template at<I>())...};
  }
  template <class Branch>
  void rethrow_if_first(Branch& b) {
    if (&b == failed_) static_cast<void>(b.result());
  }

  const branch_base* failed_ = nullptr;
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

template <awaitable... As>
  requires(sizeof...(As) > 0 && (!std::is_lvalue_reference_v<As> && ...))
when_all_awaitable<As...> when_all(As&&... as) {
  return when_all_awaitable<As...>(std::move(as)...);
}

}  // namespace kedge
