// result<T, E>: a value, or the reason why there is none.
//
//     const kedge::result<std::size_t> n = co_await in.read_some(buffer);
//     if (!n && n.error() == kedge::errc::end_of_file) co_return;
//
// It reports what happens in normal operation: a peer closed, a deadline passed. Misuse and
// exhaustion throw instead. The names are those of std::expected, which the oldest of our standard
// libraries lacks. T may be void, a reference or move-only. E is std::error_code, unless the
// failure hands an object back (an unsent message). A result holds exactly one of the two at any
// time.
//
// value() of a failure throws. The message names the operation and its object, if the failure knows
// them, and the place of the call to value():
//
//     read_some fd 5, at tools/echo.cc:31: Connection reset by peer
//
// A failure that is passed on as a code alone, as in `unexpected(r.error())`, loses its operation;
// `r.failure()` keeps it.
#pragma once

#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

namespace kedge {

// The operation that has failed, for the message of value(). Only text: nothing is looked up by it.
struct failed_operation {
  const char* name = nullptr;  // a literal: "read_some fd"; null if unknown
  int object = -1;             // the number behind the name; none if negative
};

// The failure side of a result: `return unexpected(errc::closed);`
template <class E>
class unexpected {
  struct no_operation {};
  static constexpr bool is_code = std::is_same_v<E, std::error_code>;

 public:
  explicit unexpected(E error) : error_(std::move(error)) {}
  unexpected(E error, failed_operation operation)
    requires std::is_same_v<E, std::error_code>
      : error_(error), operation_(operation) {}
  // From a failure of another type.
  template <class G>
    requires(!std::is_same_v<E, G>)
  explicit unexpected(unexpected<G> other) : error_(std::move(other).error()) {}

  E& error() & noexcept { return error_; }
  const E& error() const& noexcept { return error_; }
  E&& error() && noexcept { return std::move(error_); }

  failed_operation operation() const noexcept {
    if constexpr (is_code) {
      return operation_;
    } else {
      return {};
    }
  }

 private:
  E error_;
  [[no_unique_address]] std::conditional_t<is_code, failed_operation, no_operation> operation_;
};

template <class E>
  requires std::is_error_code_enum_v<E>
unexpected(E) -> unexpected<std::error_code>;
template <class E>
  requires std::is_error_code_enum_v<E>
unexpected(E, failed_operation) -> unexpected<std::error_code>;

namespace result_detail {

// Throw, for value(). Out of line, to keep value() small.
[[noreturn]] void raise(std::error_code code, failed_operation operation,
                        const std::source_location& place);
[[noreturn]] void raise(std::error_code code, const std::string& text,
                        const std::source_location& place);
[[noreturn]] void raise_without_code(const std::source_location& place);

// Throws std::system_error if the error is a code or has one, with the error's own text if it has
// one, else std::logic_error.
template <class E>
[[noreturn]] void raise(const unexpected<E>& failure, const std::source_location& place) {
  const E& error = failure.error();
  if constexpr (std::is_convertible_v<const E&, std::error_code>) {
    raise(std::error_code(error), failure.operation(), place);
  } else if constexpr (requires { std::string(error.text()), std::error_code(error.code()); }) {
    raise(std::error_code(error.code()), error.text(), place);
  } else if constexpr (requires { std::error_code(error.code()); }) {
    raise(std::error_code(error.code()), failed_operation(), place);
  } else {
    raise_without_code(place);
  }
}

// The type that stores a T: T itself, a wrapped reference, or an empty type for void.
template <class T>
struct held {
  using type = T;
};
template <class T>
struct held<T&> {
  using type = std::reference_wrapper<T>;
};
template <>
struct held<void> {
  using type = std::monostate;
};

// Returns the T that the variant `state` holds as its first alternative, as state is: moved out of
// an rvalue. Undefined if it holds another one.
template <class T, class State>
decltype(auto) get_held(State&& state) noexcept {
  if constexpr (std::is_void_v<T>) {
    return;
  } else if constexpr (std::is_reference_v<T>) {
    return std::get_if<0>(&state)->get();
  } else if constexpr (std::is_lvalue_reference_v<State>) {
    return (*std::get_if<0>(&state));
  } else {
    return std::move(*std::get_if<0>(&state));
  }
}

}  // namespace result_detail

template <class T, class E = std::error_code>
class [[nodiscard]] result {
  using held = typename result_detail::held<T>::type;

 public:
  using value_type = T;
  using error_type = E;

  // Success: by default for a void result, else from any value that constructs a T.
  result()
    requires std::is_void_v<T>
      : state_(std::in_place_index<0>) {}
  template <class U>
    requires(!std::is_void_v<T> && std::is_constructible_v<held, U> &&
             !std::is_same_v<std::remove_cvref_t<U>, result> &&
             !std::is_same_v<std::remove_cvref_t<U>, unexpected<E>>)
  result(U&& value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}

  // Failure.
  template <class G>
  result(unexpected<G> failure) : state_(std::in_place_index<1>, std::move(failure)) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  // Returns the value. Without one, throws std::system_error if the error has a code, else
  // std::logic_error, with a message as above.
  decltype(auto) value(std::source_location place = std::source_location::current()) & {
    require(place);
    return **this;
  }
  decltype(auto) value(std::source_location place = std::source_location::current()) const& {
    require(place);
    return **this;
  }
  decltype(auto) value(std::source_location place = std::source_location::current()) && {
    require(place);
    return *std::move(*this);
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

  // Returns the error. Undefined if there is a value.
  E& error() & noexcept { return std::get_if<1>(&state_)->error(); }
  const E& error() const& noexcept { return std::get_if<1>(&state_)->error(); }
  E&& error() && noexcept { return std::move(*std::get_if<1>(&state_)).error(); }

  // Returns the failure to pass on, with its operation. Undefined if there is a value.
  unexpected<E> failure() const { return *std::get_if<1>(&state_); }

  // Returns the value, or `otherwise` converted to T.
  template <class U>
    requires(!std::is_void_v<T> && !std::is_reference_v<T>)
  T value_or(U&& otherwise) const& {
    return has_value() ? T(**this) : T(std::forward<U>(otherwise));
  }
  template <class U>
    requires(!std::is_void_v<T> && !std::is_reference_v<T>)
  T value_or(U&& otherwise) && {
    return has_value() ? T(*std::move(*this)) : T(std::forward<U>(otherwise));
  }

 private:
  void require(const std::source_location& place) const {
    if (!has_value()) [[unlikely]]
      result_detail::raise(*std::get_if<1>(&state_), place);
  }

  std::variant<held, unexpected<E>> state_;
};

}  // namespace kedge
