// KEDGE_CHECK_CLOSURE(F), KEDGE_CHECK_ITEM(T), parameters: what g++ 12 would destroy twice.
//
// g++ 12 (12.2 was tried, at -O0 and -O2) destroys a temporary closure in a co_await expression
// once too often: a captured std::string is freed twice. Each function that takes a callable as F&&
// and returns an awaitable checks F with KEDGE_CHECK_CLOSURE, which is an error.
//
// It does the same to a temporary aggregate that is an argument of a coroutine, as in
// `co_await send_to({std::string("a"), 1})`. So task.h checks the parameters of each coroutine, and
// g++ warns of aggregates with a destructor that are taken by value. A class whose awaitables take
// a T of the user's by value checks it with KEDGE_CHECK_ITEM, which is an error. Other compilers
// accept all.
#pragma once

#include <type_traits>

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ <= 12
#define KEDGE_DESTROYS_TWICE 1
#else
#define KEDGE_DESTROYS_TWICE 0
#endif

#if KEDGE_DESTROYS_TWICE
#define KEDGE_CHECK_CLOSURE(F)                                                              \
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_destructible_v<F>,       \
                "kedge: name this closure first (auto f = [...]; co_await with_scope(f)): " \
                "g++ 12 destroys it twice as a temporary of co_await")
#define KEDGE_CHECK_ITEM(T)                                                                     \
  static_assert(!::kedge::is_destroyed_twice<T>(),                                              \
                "kedge: give this type a constructor: g++ 12 destroys an aggregate twice that " \
                "is a temporary of co_await")

namespace kedge {

// A lambda that is a coroutine has its closure among its parameters, as an incomplete type.
template <class P>
constexpr bool is_destroyed_twice() noexcept {
  if constexpr (!std::is_class_v<P> || !requires { sizeof(P); }) {
    return false;
  } else {
    return std::is_aggregate_v<P> && !std::is_trivially_destructible_v<P>;
  }
}

template <bool AreUnsafe>
struct parameters {
  static constexpr bool check() noexcept { return true; }
};
template <>
struct parameters<true> {
  [[deprecated(
      "kedge: this coroutine takes an aggregate with a destructor, which g++ 12 destroys twice "
      "when "
      "it is a temporary of a co_await expression: give the type a constructor")]]
  static constexpr bool check() noexcept {
    return true;
  }
};

}  // namespace kedge
#else
#define KEDGE_CHECK_CLOSURE(F) static_assert(true)
#define KEDGE_CHECK_ITEM(T) static_assert(true)
#endif
