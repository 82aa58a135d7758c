// with_signals({SIGINT, SIGTERM}, body): runs a command-line tool's body until one of the signals.
//
//     int main() {
//       kedge::loop loop;
//       return loop.run(kedge::with_signals({SIGINT, SIGTERM}, serve(loop)));
//     }
//
// Gives the exit code: the body's int, or 0 of a body without a value, or 128 plus the number of
// the signal that came first, as shells do. On a signal the body is cancelled *and awaited*. A
// second signal has no effect while the body cleans up. An exception of the body is thrown.
//
// Threads: the loop's thread only. Throws std::system_error (EINVAL) for a signal that does not
// exist or cannot be caught. A cancellation from outside cancels the body, and loses what the body
// declares.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"

namespace kedge {

// A list of signals. Not an initializer_list or an array, since g++ 12 mistreats their temporaries
// in a co_await.
class signal_list {
 public:
  template <std::same_as<int>... Numbers>
  signal_list(int first, Numbers... others) noexcept
      : numbers_{first, others...}, size_(1 + sizeof...(others)) {
    static_assert(1 + sizeof...(others) <= most, "kedge: too many signals");
  }
  std::span<const int> numbers() const noexcept { return {numbers_.data(), size_}; }

 private:
  static constexpr std::size_t most = 8;
  std::array<int, most> numbers_;
  std::size_t size_;
};

namespace with_signals_detail {

template <awaitable Body>
task<int> run(signal_list signals, Body body) {
  signal_set stop(*loop::current(), signals.numbers());
  const auto [value, signal] = co_await when_any(std::move(body), stop.next());
  if (signal) co_return 128 + signal->value().number;
  if constexpr (std::convertible_to<awaited_t<Body>, int>) {
    co_return *value;
  } else {
    co_return 0;
  }
}

}  // namespace with_signals_detail

template <called_awaitable Body>
task<int> with_signals(signal_list signals, Body&& body) {
  static_assert(std::is_void_v<awaited_t<Body>> || std::convertible_to<awaited_t<Body>, int>,
                "kedge: the body gives the exit code, as an int, or nothing");
  return with_signals_detail::run<Body>(signals, std::move(body));
}

}  // namespace kedge
