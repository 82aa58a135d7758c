// branch_group<As...>: a fixed number of branches. See branch_set.h.
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>
#include <tuple>
#include <utility>
#include <variant>

#include "kedge/runtime/awaiting/branch.h"

namespace kedge {

template <awaitable... As>
class branch_group : protected branch_owner {
 protected:
  static constexpr std::size_t count = sizeof...(As);

  explicit branch_group(std::tuple<As...>&& awaitables)
      : branch_group(std::move(awaitables), std::index_sequence_for<As...>()) {}
  ~branch_group() = default;

  template <std::size_t I>
  auto& at() noexcept {
    return static_cast<cell<I, std::tuple_element_t<I, std::tuple<As...>>>&>(cells_).held;
  }

  // Calls f on every branch, in order.
  template <class F>
  void for_each(F f) noexcept {
    each(f, std::index_sequence_for<As...>());
  }

 public:
  branch_group(const branch_group&) = delete;
  branch_group& operator=(const branch_group&) = delete;

 private:
  template <std::size_t I, class A>
  struct cell {
    template <class T>
    cell(T& awaitables, branch_owner& owner) : held(std::move(std::get<I>(awaitables)), owner) {}
    branch<operation_of<A>> held;
  };
  template <class Indices>
  struct cell_list;
  template <std::size_t... I>
  struct cell_list<std::index_sequence<I...>> : cell<I, As>... {
    cell_list(std::tuple<As...>& awaitables, branch_owner& owner)
        : cell<I, As>(awaitables, owner)... {}
  };

  template <std::size_t... I>
  branch_group(std::tuple<As...>&& awaitables, std::index_sequence<I...>)
      : cells_(awaitables, *this) {}

  template <class F, std::size_t... I>
  void each(F& f, std::index_sequence<I...>) noexcept {
    (f(at<I>()), ...);
  }

  cell_list<std::index_sequence_for<As...>> cells_;
};

// The type of an awaitable's value in a tuple: std::monostate for void.
template <class T>
struct tuple_value {
  using type = T;
};
template <>
struct tuple_value<void> {
  using type = std::monostate;
};
template <awaitable A>
using tuple_value_t = typename tuple_value<awaited_t<A>>::type;

template <class Branch>
decltype(auto) tuple_value_of(Branch& b) {
  if constexpr (std::is_void_v<decltype(b.result())>) {
    b.result();
    return std::monostate();
  } else {
    return b.result();
  }
}

}  // namespace kedge
