// when_all(a, b...): awaits all of its awaitables concurrently; gives the tuple of their values.
//
//     const auto [line, reply] = co_await kedge::when_all(read_line(in), ask(peer));
//
// The value of a void awaitable is std::monostate. The first failure cancels the others; when all
// have ended, when_all throws the exception of that failure. A cancellation from outside cancels
// all; if one of them was cancelled before it had a value, the caller ends as cancelled.
// Cancellation loses the values of those that had ended, and what the others declare.
#pragma once

#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/branch_group.h"

namespace kedge {

template <awaitable... As>
class when_all_operation final : public branch_group<As...> {
  using group = branch_group<As...>;

 public:
  explicit when_all_operation(std::tuple<As...>&& awaitables) : group(std::move(awaitables)) {}

  bool await_suspend(waiter& w) noexcept {
    return this->start(w, [this] { return failed_ != nullptr; });
  }
  bool await_cancel(cancel_cause cause) noexcept {
    this->cancel_branches(cause);
    return false;
  }
  bool was_cancelled() const noexcept {
    return failed_ == nullptr && this->any_ended(outcome::cancelled);
  }
  std::exception_ptr await_failure() noexcept {
    return failed_ != nullptr ? this->failure_of(failed_) : nullptr;
  }

  std::tuple<tuple_value_t<As>...> await_resume() {
    if (failed_ != nullptr) std::rethrow_exception(this->failure_of(failed_));
    return take(std::index_sequence_for<As...>());
  }
  void describe(description& line) const noexcept { line.print("all of %zu", sizeof...(As)); }

 private:
  waiter* branch_done(branch_base& b) noexcept override {
    if (b.ended() == outcome::failed && failed_ == nullptr) {
      failed_ = &b;
      this->cancel_branches(cancel_cause::failure, &b);
    }
    return this->one_done();
  }
  const char* branch_name() const noexcept override { return "when_all"; }

  template <std::size_t... I>
  std::tuple<tuple_value_t<As>...> take(std::index_sequence<I...>) {
    return std::tuple<tuple_value_t<As>...>{tuple_value_of(this->template at<I>())...};
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
