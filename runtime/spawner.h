// spawner<S>: the spawn() of scopes and loops, which records the place of its call.
//
// For scope.h and loop.h. A template cannot have a default argument behind a pack, so there is an
// overload for each number of arguments up to four. A call with more has no place.
#pragma once

#include <source_location>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/operation.h"

namespace kedge {

// S has a function add(place, fn, args...), which it shares with this class only.
template <class S>
class spawner {
  using location = std::source_location;

 public:
  // Runs fn(args...), which returns an awaitable, as a child. The child starts at its turn. The
  // callable and its arguments are moved into the child's record and live as long as the child, so
  // a closure may capture what the child needs. fn receives rvalues, as from std::thread: for a
  // parameter that is a reference pass std::ref(x). The child's value is dropped. Throws
  // std::bad_alloc, the exception of fn, std::logic_error if the scope has ended, and
  // std::system_error (errc::closed) if it drains; there is no child then.
  template <class Fn>
    requires(!awaitable<Fn>)
  void spawn(Fn&& fn, location place = location::current()) {
    self().add(place, std::forward<Fn>(fn));
  }
  template <class Fn, class A>
  void spawn(Fn&& fn, A&& a, location place = location::current()) {
    self().add(place, std::forward<Fn>(fn), std::forward<A>(a));
  }
  template <class Fn, class A, class B>
  void spawn(Fn&& fn, A&& a, B&& b, location place = location::current()) {
    self().add(place, std::forward<Fn>(fn), std::forward<A>(a), std::forward<B>(b));
  }
  template <class Fn, class A, class B, class C>
  void spawn(Fn&& fn, A&& a, B&& b, C&& c, location place = location::current()) {
    self().add(place, std::forward<Fn>(fn), std::forward<A>(a), std::forward<B>(b),
               std::forward<C>(c));
  }
  template <class Fn, class A, class B, class C, class D>
  void spawn(Fn&& fn, A&& a, B&& b, C&& c, D&& d, location place = location::current()) {
    self().add(place, std::forward<Fn>(fn), std::forward<A>(a), std::forward<B>(b),
               std::forward<C>(c), std::forward<D>(d));
  }
  template <class Fn, class A, class B, class C, class D, class E, class... More>
  void spawn(Fn&& fn, A&& a, B&& b, C&& c, D&& d, E&& e, More&&... more) {
    self().add({}, std::forward<Fn>(fn), std::forward<A>(a), std::forward<B>(b), std::forward<C>(c),
               std::forward<D>(d), std::forward<E>(e), std::forward<More>(more)...);
  }
  // Runs an awaitable as a child: a task at its turn, all else at once.
  template <awaitable A>
  void spawn(A a, location place = location::current()) {
    self().add(place, std::move(a));
  }

 private:
  friend S;
  spawner() = default;
  ~spawner() = default;

  S& self() noexcept { return static_cast<S&>(*this); }
};

}  // namespace kedge
