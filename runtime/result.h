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
#pragma once

#include <functional>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

namespace kedge {

// The failure side of a result under construction: `return unexpected(errc::closed);`
template <class E>
class unexpected {
 public:
  explicit unexpected(E error) : error_(std::move(error)) {}
  E& error() & noexcept { return error_; }
  E&& error() && noexcept { return std::move(error_); }

 private:
  E error_;
};

template <class E>
  requires std::is_error_code_enum_v<E>
unexpected(E) -> unexpected<std::error_code>;

namespace result_detail {

// Throws `error`, for value(): as std::system_error if it is a code or has one, else as
// std::logic_error.
template <class E>
[[noreturn]] void raise(const E& error) {
  if constexpr (std::is_same_v<E, std::error_code>) {
    throw std::system_error(error);
  } else if constexpr (requires { std::error_code(error.code()); }) {
    throw std::system_error(std::error_code(error.code()));
  } else {
    throw std::logic_error("kedge::result: value() of a failure");
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
  result(unexpected<G> failure) : state_(std::in_place_index<1>, std::move(failure).error()) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  // Returns the value. Without one, throws std::system_error if the error has a code, else
  // std::logic_error.
  decltype(auto) value() & {
    require();
    return **this;
  }
  decltype(auto) value() const& {
    require();
    return **this;
  }
  decltype(auto) value() && {
    require();
    return *std::move(*this);
  }

  // Returns the value. Undefined without one.
  decltype(auto) operator*() & noexcept { return get(*this); }
  decltype(auto) operator*() const& noexcept { return get(*this); }
  decltype(auto) operator*() && noexcept { return get(std::move(*this)); }
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
  E& error() & noexcept { return *std::get_if<1>(&state_); }
  const E& error() const& noexcept { return *std::get_if<1>(&state_); }
  E&& error() && noexcept { return std::move(*std::get_if<1>(&state_)); }

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
  void require() const {
    if (!has_value()) result_detail::raise(error());
  }

  template <class Self>
  static decltype(auto) get(Self&& self) noexcept {
    if constexpr (std::is_void_v<T>) {
      return;
    } else if constexpr (std::is_reference_v<T>) {
      return std::get_if<0>(&self.state_)->get();
    } else if constexpr (std::is_lvalue_reference_v<Self>) {
      return (*std::get_if<0>(&self.state_));
    } else {
      return std::move(*std::get_if<0>(&self.state_));
    }
  }

  std::variant<held, E> state_;
};

}  // namespace kedge
