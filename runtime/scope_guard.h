// scope_success, scope_fail, on_cancel: run a function when their block ends in one way.
//
//     const kedge::scope_fail undo([&] { ::unlink(path); });
//     co_await write_all(file);
//
// scope_success runs it if the block is left normally: by its end, return, co_return or break.
// scope_fail runs it if the block is left by an exception or by a cancellation. on_cancel runs it
// only on a cancellation, which includes that the coroutine is destroyed where it waits. A guard
// that asks std::uncaught_exceptions() alone takes a cancellation for success: nothing is thrown
// then.
//
// The function runs in a destructor, so it must neither throw (std::terminate), nor wait. For work
// that waits see with_cleanup.h.
//
// Threads: any; a guard is made and destroyed on one thread.
#pragma once

#include <exception>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/context.h"

namespace kedge {

namespace scope_guard_detail {

template <class F>
class guard {
  static_assert(std::is_invocable_v<F&>, "kedge: a scope guard takes a callable without arguments");

 public:
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;

 protected:
  explicit guard(F&& f) : function_(std::move(f)) {}
  ~guard() = default;

  // More than when the guard was made: a guard may be a local of what a destructor calls.
  bool is_cancelled() const noexcept { return unwinding_chains() > chains_; }
  bool is_thrown() const noexcept { return std::uncaught_exceptions() > exceptions_; }
  void run() noexcept { function_(); }

 private:
  [[no_unique_address]] F function_;
  unsigned chains_ = unwinding_chains();
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace scope_guard_detail

template <class F>
class [[nodiscard]] scope_success : private scope_guard_detail::guard<F> {
 public:
  explicit scope_success(F f) : scope_guard_detail::guard<F>(std::move(f)) {}
  ~scope_success() {
    if (!this->is_cancelled() && !this->is_thrown()) this->run();
  }
};

template <class F>
class [[nodiscard]] scope_fail : private scope_guard_detail::guard<F> {
 public:
  explicit scope_fail(F f) : scope_guard_detail::guard<F>(std::move(f)) {}
  ~scope_fail() {
    if (this->is_cancelled() || this->is_thrown()) this->run();
  }
};

template <class F>
class [[nodiscard]] on_cancel : private scope_guard_detail::guard<F> {
 public:
  explicit on_cancel(F f) : scope_guard_detail::guard<F>(std::move(f)) {}
  ~on_cancel() {
    if (this->is_cancelled() && !this->is_thrown()) this->run();
  }
};

}  // namespace kedge
