// when_any(a, b...): awaits them together until the first has ended; gives a tuple of
// std::optional: at least one is set, more if another ended before it could be cancelled
// (std::monostate for void).
//
// The others are cancelled *and awaited*: nothing of them runs on afterwards. If one fails, what the
// first failure threw is thrown. Cancelling from outside cancels all; when_any throws `cancelled` if
// none had a value. Cancellation of the others loses what each of them declares.
#pragma once

#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kedge/runtime/branch_group.h"

namespace kedge {

template <awaitable... As>
class when_any_operation final : public branch_group<As...> {
  using group = branch_group<As...>;
  using outcome = branch_base::outcome;

 public:
  explicit when_any_operation(std::tuple<As...>&& awaitables) : group(std::move(awaitables)) {}

  bool await_suspend(waiter& w) noexcept {
    return this->start(w, [this] { return decided_; });
  }
  bool was_cancelled() const noexcept {
    return !this->await_failed() && !this->any_ended(outcome::value);
  }

  std::tuple<std::optional<tuple_value_t<As>>...> await_resume() {
    return take(std::index_sequence_for<As...>());
  }
  void describe(description& line) const noexcept { line.print("any of %zu", sizeof...(As)); }

 private:
  void branch_done(branch_base& b) noexcept override {
    this->note_failure(b);
    if (b.ended() != outcome::cancelled && !decided_) {
      decided_ = true;
      this->cancel_branches(
          this->await_failed() ? cancel_cause::failure : cancel_cause::decided, &b);
    }
    this->one_done();
  }

  template <std::size_t... I>
  std::tuple<std::optional<tuple_value_t<As>>...> take(std::index_sequence<I...>) {
    this->rethrow_failure();
    if (was_cancelled()) throw cancelled(this->awaited_by().where().cause());
    return {value_if_any<I>()...};
  }
  template <std::size_t I>
  auto value_if_any() {
    auto& b = this->template at<I>();
    using value = decltype(tuple_value_of(b));
    if (b.ended() != outcome::value) return std::optional<value>();
    return std::optional<value>(tuple_value_of(b));
  }

  bool decided_ = false;
};

template <awaitable... As>
  requires(sizeof...(As) > 0 && (!std::is_lvalue_reference_v<As> && ...))
group_awaitable<when_any_operation, As...> when_any(As&&... as) {
  return group_awaitable<when_any_operation, As...>(std::move(as)...);
}

}  // namespace kedge
