// member_count, members_of, visit_members(): the members of a plain struct, in their order.
//
//     struct point { int x; double y; };
//     visit_members(p, [](auto&... member) { (print(member), ...); });      // calls it once
//
// For an aggregate of up to 16 members, without base classes and bit-fields. A member that is an
// array of C's is not seen as one: has_c_array tells.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace kedge::mach {

namespace members_detail {

// Converts to whatever a member is. Never called.
struct anything {
  template <class T>
  operator T() const;
};
template <std::size_t>
using anything_at = anything;

template <class T, std::size_t... I>
constexpr bool takes(std::index_sequence<I...>) {
  return requires { T{anything_at<I>{}...}; };
}

// With a pair of braces between the others, which initialises a whole member.
template <class T, std::size_t... I, std::size_t... J>
constexpr bool takes_braces(std::index_sequence<I...>, std::index_sequence<J...>) {
  return requires { T{anything_at<I>{}..., {}, anything_at<J>{}...}; };
}

inline constexpr std::size_t most = 16;

// Counts the initialisers that the struct takes: one for each member, and one for each element of a
// member that is an array of C's.
template <class T, std::size_t N = 0>
constexpr std::size_t count() {
  if constexpr (N <= most && takes<T>(std::make_index_sequence<N + 1>())) {
    return count<T, N + 1>();
  } else {
    return N;
  }
}

// Braces for an array of C's take the place of two or more initialisers, and leave one too many for
// the members behind it.
template <class T, std::size_t... I>
constexpr bool has_c_array(std::index_sequence<I...>) {
  constexpr std::size_t count = sizeof...(I);
  return !(
      takes_braces<T>(std::make_index_sequence<I>(), std::make_index_sequence<count - I - 1>()) &&
      ...);
}

}  // namespace members_detail

template <class T>
inline constexpr std::size_t member_count = members_detail::count<T>();

// True if a member is an array of C's of two or more elements, or has no value by default.
template <class T>
inline constexpr bool has_c_array =
    members_detail::has_c_array<T>(std::make_index_sequence<member_count<T>>());

// Calls `visit` with a reference to each member of `object`, and returns what it returns.
template <class T, class Visitor>
constexpr decltype(auto) visit_members(T& object, Visitor&& visit) {
  constexpr std::size_t count = member_count<std::remove_const_t<T>>;
  static_assert(count <= members_detail::most, "kedge::mach: a struct of more than 16 members");
  if constexpr (count == 0) {
    return visit();
  } else if constexpr (count == 1) {
    auto& [a] = object;
    return visit(a);
  } else if constexpr (count == 2) {
    auto& [a, b] = object;
    return visit(a, b);
  } else if constexpr (count == 3) {
    auto& [a, b, c] = object;
    return visit(a, b, c);
  } else if constexpr (count == 4) {
    auto& [a, b, c, d] = object;
    return visit(a, b, c, d);
  } else if constexpr (count == 5) {
    auto& [a, b, c, d, e] = object;
    return visit(a, b, c, d, e);
  } else if constexpr (count == 6) {
    auto& [a, b, c, d, e, f] = object;
    return visit(a, b, c, d, e, f);
  } else if constexpr (count == 7) {
    auto& [a, b, c, d, e, f, g] = object;
    return visit(a, b, c, d, e, f, g);
  } else if constexpr (count == 8) {
    auto& [a, b, c, d, e, f, g, h] = object;
    return visit(a, b, c, d, e, f, g, h);
  } else if constexpr (count == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = object;
    return visit(a, b, c, d, e, f, g, h, i);
  } else if constexpr (count == 10) {
    auto& [a, b, c, d, e, f, g, h, i, j] = object;
    return visit(a, b, c, d, e, f, g, h, i, j);
  } else if constexpr (count == 11) {
    auto& [a, b, c, d, e, f, g, h, i, j, k] = object;
    return visit(a, b, c, d, e, f, g, h, i, j, k);
  } else if constexpr (count == 12) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l] = object;
    return visit(a, b, c, d, e, f, g, h, i, j, k, l);
  } else if constexpr (count == 13) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m] = object;
    return visit(a, b, c, d, e, f, g, h, i, j, k, l, m);
  } else if constexpr (count == 14) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = object;
    return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n);
  } else if constexpr (count == 15) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = object;
    return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o);
  } else if constexpr (count == 16) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = object;
    return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
  }
}

template <class... T>
struct type_list {};

// The types of the members, as a type_list.
template <class T>
using members_of = decltype(visit_members(
    std::declval<T&>(), []<class... Member>(Member&...) { return type_list<Member...>(); }));

}  // namespace kedge::mach
