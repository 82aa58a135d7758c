// KEDGE_CHECK_CLOSURE(F): refuses to compile a closure that g++ 12 would destroy twice.
//
// g++ 12 (12.2 was tried, at -O0 and -O2) destroys a temporary closure in a co_await expression
// once too often: a captured std::string is freed twice. Each function that takes a callable as F&&
// and returns an awaitable checks F with this macro. Other compilers accept every F.
#pragma once

#include <type_traits>

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ <= 12
#define KEDGE_CHECK_CLOSURE(F)                                                              \
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_destructible_v<F>,       \
                "kedge: name this closure first (auto f = [...]; co_await with_scope(f)): " \
                "g++ 12 destroys it twice as a temporary of co_await")
#else
#define KEDGE_CHECK_CLOSURE(F) static_assert(true)
#endif
