// background(fn): a callable for scope::spawn() whose child ends with the others.
//
//     s.spawn(kedge::background(send_heartbeats), std::ref(peer));
//
// When the body and all other children have ended, the scope cancels its background children and
// awaits them. A background child that ends earlier is like any other, and so is its failure. That
// it was cancelled does not end the awaiter of the scope as cancelled. It takes no room of
// scope::set_limit().
//
// A loop has no end that its tasks could wait for: it takes no background children.
//
// Threads: the loop's thread only.
#pragma once

#include <functional>
#include <type_traits>
#include <utility>

namespace kedge {

template <class Fn>
class background_callable {
 public:
  using callable = Fn;

  template <class F>
  background_callable(std::in_place_t, F&& fn) : fn_(std::forward<F>(fn)) {}

  template <class... Args>
    requires std::is_invocable_v<Fn, Args...>
  decltype(auto) operator()(Args&&... args) {
    return std::invoke(std::move(fn_), std::forward<Args>(args)...);
  }

 private:
  [[no_unique_address]] Fn fn_;
};

template <class Fn>
background_callable<std::decay_t<Fn>> background(Fn&& fn) {
  return {std::in_place, std::forward<Fn>(fn)};
}

template <class Fn>
inline constexpr bool is_background = false;
template <class Fn>
inline constexpr bool is_background<background_callable<Fn>> = true;

}  // namespace kedge
