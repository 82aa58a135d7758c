// KEDGE_CHECK_CLOSURE(F), KEDGE_CHECK_PARAMETERS(promise): refuse what g++ 12 would destroy twice.
//
// g++ 12 (12.2 was tried, at -O0 and -O2) destroys a temporary closure in a co_await expression
// once too often: a captured std::string is freed twice. Each function that takes a callable as F&&
// and returns an awaitable checks F with KEDGE_CHECK_CLOSURE, which is an error.
//
// It does the same to a temporary aggregate that is an argument of a coroutine, as in
// `co_await send_to({std::string("a"), 1})`. KEDGE_CHECK_PARAMETERS gives a promise a constructor
// that sees the coroutine's parameters, and warns of aggregates with a destructor. Other compilers
// accept both.
#pragma once

#include <type_traits>

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ <= 12

#define KEDGE_CHECK_CLOSURE(F)                                                              \
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_destructible_v<F>,       \
                "kedge: name this closure first (auto f = [...]; co_await with_scope(f)): " \
                "g++ 12 destroys it twice as a temporary of co_await")

namespace kedge::closure_detail {

template <bool IsUnsafe>
struct parameters {
  static void check() noexcept {}
};
template <>
struct parameters<true> {
  [[deprecated(
      "kedge: this coroutine takes an aggregate with a destructor, which g++ 12 destroys twice "
      "when "
      "it is a temporary of a co_await expression: give the type a constructor")]]
  static void check() noexcept {}
};

template <class P>
inline constexpr bool is_unsafe =
    std::is_class_v<P> && std::is_aggregate_v<P> && !std::is_trivially_destructible_v<P>;

}  // namespace kedge::closure_detail

#define KEDGE_CHECK_PARAMETERS(promise)                                                       \
  template <class First, class... Rest>                                                       \
  explicit promise(First&, Rest&...) noexcept {                                               \
    closure_detail::parameters<(closure_detail::is_unsafe<std::remove_cv_t<First>> || ... ||  \
                                closure_detail::is_unsafe<std::remove_cv_t<Rest>>)>::check(); \
  }

#else
#define KEDGE_CHECK_CLOSURE(F) static_assert(true)
#define KEDGE_CHECK_PARAMETERS(promise) static_assert(true);
#endif
