// when_any(a, b...): awaits its awaitables concurrently until the first has ended.
//
//     const auto [status, signal] = co_await kedge::when_any(serve(loop), stop.next());
//
// Gives a tuple of std::optional, of which at least one holds a value. More of them do if another
// awaitable ended before it could be cancelled. The value of a void awaitable is std::monostate.
//
// The others are cancelled *and awaited*: none of them runs after when_any has ended. If one fails,
// when_any throws the exception of the first failure. A cancellation from outside cancels all; if
// none had a value, the caller ends as cancelled. The value of an awaitable that gives a T& is a
// std::reference_wrapper<T>. Cancelling the others loses what each of them declares.
#pragma once

#include <exception>
#include <functional>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/branch_group.h"

namespace kedge {

// The value of one awaitable of when_any.
template <awaitable A>
using any_value_t =
    std::conditional_t<std::is_reference_v<awaited_t<A>>,
                       std::reference_wrapper<std::remove_reference_t<awaited_t<A>>>,
                       tuple_value_t<A>>;

template <awaitable... As>
class when_any_operation final : public branch_group<As...> {
  using group = branch_group<As...>;

 public:
  explicit when_any_operation(std::tuple<As...>&& awaitables) : group(std::move(awaitables)) {}

  bool await_suspend(waiter& w) noexcept {
    return this->start(w, [this] { return decided_; });
  }
  bool await_cancel(cancel_cause cause) noexcept {
    this->cancel_branches(cause);
    return false;
  }
  bool was_cancelled() const noexcept {
    return failed_ == nullptr && !this->any_ended(outcome::value);
  }
  std::exception_ptr await_failure() noexcept {
    return failed_ != nullptr ? this->failure_of(failed_) : nullptr;
  }

  std::tuple<std::optional<any_value_t<As>>...> await_resume() {
    if (failed_ != nullptr) std::rethrow_exception(this->failure_of(failed_));
    return take(std::index_sequence_for<As...>());
  }
  void describe(description& line) const noexcept { line.print("any of %zu", sizeof...(As)); }

 private:
  waiter* branch_done(branch_base& b) noexcept override {
    if (b.ended() == outcome::failed && failed_ == nullptr) failed_ = &b;
    if (b.ended() != outcome::cancelled && !decided_) {
      decided_ = true;
      const bool failed = failed_ != nullptr;
      this->cancel_branches(failed ? cancel_cause::failure : cancel_cause::superseded, &b);
    }
    return this->one_done();
  }
  const char* branch_name() const noexcept override { return "when_any"; }

  template <std::size_t... I>
  std::tuple<std::optional<any_value_t<As>>...> take(std::index_sequence<I...>) {
    return {value_if_any<I>()...};
  }
  template <std::size_t I>
  auto value_if_any() {
    auto& b = this->template at<I>();
    using value = any_value_t<std::tuple_element_t<I, std::tuple<As...>>>;
    if (b.ended() != outcome::value) return std::optional<value>();
    return std::optional<value>(tuple_value_of(b));
  }

  const branch_base* failed_ = nullptr;
  bool decided_ = false;
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

template <awaitable... As>
  requires(sizeof...(As) > 0 && (!std::is_lvalue_reference_v<As> && ...))
when_any_awaitable<As...> when_any(As&&... as) {
  return when_any_awaitable<As...>(std::move(as)...);
}

}  // namespace kedge
