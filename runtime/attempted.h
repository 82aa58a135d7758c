// attempted<T>: how an awaitable has ended: with a value, with an exception, or cancelled.
//
//     const kedge::attempted<int> end = loop.try_run(serve());
//     if (end.cancelled()) return 1;
//
// It holds exactly one of the three. T may be void, a reference or move-only.
#pragma once

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>

#include "kedge/runtime/cancelled.h"
#include "kedge/runtime/result.h"

namespace kedge {

template <class T>
class [[nodiscard]] attempted {
  using held = typename result_detail::held<T>::type;

 public:
  explicit attempted(cancel_cause cause) : state_(std::in_place_index<2>, cause) {}
  explicit attempted(std::exception_ptr failure)
      : state_(std::in_place_index<1>, std::move(failure)) {}
  // Makes the value from what `give` returns.
  template <class Give>
  attempted(std::in_place_t, Give&& give) : state_(make(std::forward<Give>(give))) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  bool failed() const noexcept { return state_.index() == 1; }
  bool cancelled() const noexcept { return state_.index() == 2; }

  explicit operator bool() const noexcept { return has_value(); }

  // Returns the value. Throws the exception, or kedge::cancelled.
  T value() && {
    require();
    return result_detail::get_held<T>(std::move(state_));
  }
  // The same, without moving it out.
  decltype(auto) value() & {
    require();
    return result_detail::get_held<T>(state_);
  }
  decltype(auto) value() const& {
    require();
    return result_detail::get_held<T>(state_);
  }
  // Returns the value. Undefined without one.
  decltype(auto) operator*() & noexcept { return result_detail::get_held<T>(state_); }
  decltype(auto) operator*() const& noexcept { return result_detail::get_held<T>(state_); }
  decltype(auto) operator*() && noexcept { return result_detail::get_held<T>(std::move(state_)); }
  auto* operator->() noexcept
    requires(!std::is_void_v<T>)
  {
    return std::addressof(**this);
  }
  auto* operator->() const noexcept
    requires(!std::is_void_v<T>)
  {
    return std::addressof(**this);
  }

  // Returns the exception, or null if there is none.
  std::exception_ptr failure() const noexcept {
    const auto* const held_failure = std::get_if<1>(&state_);
    return held_failure != nullptr ? *held_failure : nullptr;
  }
  // Returns why it was cancelled. Requires cancelled().
  cancel_cause cause() const noexcept { return *std::get_if<2>(&state_); }

 private:
  void require() const {
    if (failed()) std::rethrow_exception(std::get<1>(state_));
    if (cancelled()) throw kedge::cancelled(std::get<2>(state_));
  }

  using state = std::variant<held, std::exception_ptr, cancel_cause>;

  template <class Give>
  static state make(Give&& give) {
    if constexpr (std::is_void_v<T>) {
      give();
      return state(std::in_place_index<0>);
    } else {
      return state(std::in_place_index<0>, give());
    }
  }

  state state_;
};

}  // namespace kedge
