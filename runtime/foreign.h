// foreign(x): awaits an awaitable or an awaiter of another library in our tasks.
//
//     const int n = co_await kedge::foreign(other::read(socket, buffer));
//     const int n = co_await kedge::foreign(other::read(socket, buffer), [&] { socket.cancel(); });
//
// Gives what awaiting x gives, or throws its exception. x is moved in; an lvalue is awaited where
// it is, and outlives the wait. x is awaited in a small coroutine of its own, which costs one block
// of the frame recycler. So x sees a std::coroutine_handle of a promise that knows nothing of
// Kedge. The other library may resume that handle at once or later, from within any call; what it
// resumes runs no task, and only makes ours ready.
//
// Cancellation: x cannot be withdrawn, so a cancelled caller waits for x to end. The value of x is
// then delivered, and the next wait ends the caller. The remedy is the second argument: cancel()
// asks the other library to end x early. It is called once, at the caller's turn, if the caller is
// cancelled during the wait; it must not throw (std::terminate). If the loop is destroyed during
// the wait, x is destroyed while it is suspended. A library that does not allow this needs a loop
// that is driven until the wait has ended.
//
// Threads: the loop's thread only. A library that resumes on a thread of its own is awaited through
// a remote (see remote.h) that posts to the loop. Awaiting it throws std::bad_alloc.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "kedge/runtime/attempted.h"
#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/frame_recycler.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

namespace foreign_detail {

template <class X>
concept has_member = requires(X&& x) { static_cast<X&&>(x).operator co_await(); };
template <class X>
concept has_function = requires(X&& x) { operator co_await(static_cast<X&&>(x)); };

template <class X>
decltype(auto) awaiter_of(X&& x) {
  if constexpr (has_member<X>) {
    return std::forward<X>(x).operator co_await();
  } else if constexpr (has_function<X>) {
    return operator co_await(std::forward<X>(x));
  } else {
    return static_cast<X&&>(x);
  }
}

template <class X>
using awaiter_t = std::remove_reference_t<decltype(awaiter_of(std::declval<X>()))>;

template <class X>
concept awaitable = requires(awaiter_t<X>& a, std::coroutine_handle<> h) {
  a.await_ready() ? 1 : 0;
  a.await_resume();
};

template <class X>
using value_t = decltype(std::declval<awaiter_t<X>&>().await_resume());

// The coroutine that awaits x.
class relay {
 public:
  class owner {
   public:
    virtual void ended() noexcept = 0;

   protected:
    ~owner() = default;
  };

  class promise_type {
   public:
    template <class... Parameters>
    explicit promise_type(owner& o, Parameters&...) noexcept : owner_(o) {}
    static void* operator new(std::size_t size) { return frame_recycler::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept {
      frame_recycler::release(block, size);
    }

    relay get_return_object() noexcept {
      return relay(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    struct final_suspension {
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<promise_type> self) const noexcept {
        self.promise().owner_.ended();
      }
      void await_resume() const noexcept {}
    };
    final_suspension final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    // The coroutine keeps what x throws.
    void unhandled_exception() const noexcept { std::terminate(); }

   private:
    owner& owner_;
  };

  relay() = default;
  relay(const relay&) = delete;
  relay& operator=(relay&& other) noexcept {
    std::swap(coroutine_, other.coroutine_);
    return *this;
  }
  ~relay() {
    if (coroutine_) coroutine_.destroy();
  }
  void resume() const { coroutine_.resume(); }

 private:
  explicit relay(std::coroutine_handle<> c) noexcept : coroutine_(c) {}
  std::coroutine_handle<> coroutine_;
};

// Awaits the awaiter `a` where it is: g++ 12 copies an awaiter that is an lvalue.
template <class A>
class in_place {
 public:
  explicit in_place(A& a) noexcept : awaiter_(a) {}
  bool await_ready() { return static_cast<bool>(awaiter_.await_ready()); }
  auto await_suspend(std::coroutine_handle<relay::promise_type> h) {
    return awaiter_.await_suspend(h);
  }
  decltype(auto) await_resume() { return awaiter_.await_resume(); }

 private:
  A& awaiter_;
};

// Awaits x, and makes `end` from how it ended.
template <class X, class End>
relay await_in_relay(relay::owner&, X x, End& end) {
  using value = value_t<X>;
  try {
    auto&& awaiter = awaiter_of(std::forward<X>(x));
    in_place<awaiter_t<X>> wait(awaiter);
    if constexpr (std::is_void_v<value>) {
      co_await wait;
      end.emplace(std::in_place, [] {});
    } else {
      auto&& given = co_await wait;
      end.emplace(std::in_place, [&]() -> value { return static_cast<value&&>(given); });
    }
  } catch (...) {
    end.emplace(std::current_exception());
  }
}

}  // namespace foreign_detail

// X is a type, or an lvalue reference.
template <class X, class Cancel>
class foreign_operation final : private foreign_detail::relay::owner {
  using value = foreign_detail::value_t<X>;
  static constexpr bool can_cancel = !std::is_same_v<Cancel, std::nullptr_t>;

 public:
  foreign_operation(X&& x, Cancel&& cancel) : x_(std::forward<X>(x)), cancel_(std::move(cancel)) {}
  foreign_operation(const foreign_operation&) = delete;
  foreign_operation& operator=(const foreign_operation&) = delete;
  ~foreign_operation() = default;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(waiter& w) {
    relay_ = foreign_detail::await_in_relay<X>(*this, std::forward<X>(x_), end_);
    relay_.resume();
    if (asked_to_end_ && !is_over_) ask_to_end();
    waiter_ = &w;
    return !is_over_;
  }
  // cancel() is code of the user's, so it has to wait for the waiter's turn.
  bool await_cancel(cancel_cause) noexcept {
    asked_to_end_ = true;
    if (can_cancel && !has_asked_ && waiter_ != nullptr) wake(*waiter_);
    return false;
  }
  bool await_settle() noexcept {
    if (!is_over_) {
      // x may end within cancel(): this turn is its waiter's.
      waiter* const w = std::exchange(waiter_, nullptr);
      ask_to_end();
      waiter_ = w;
    }
    return is_over_;
  }
  std::exception_ptr await_failure() noexcept { return end_ ? end_->failure() : nullptr; }
  value await_resume() { return std::move(*end_).value(); }
  void describe(description& line) const noexcept { line.print("an awaitable of another library"); }

 private:
  void ask_to_end() noexcept {
    if constexpr (can_cancel) {
      if (!std::exchange(has_asked_, true)) cancel_();
    }
  }
  void ended() noexcept override {
    is_over_ = true;
    if (waiter_ != nullptr) wake(*waiter_);
  }

  X x_;
  [[no_unique_address]] Cancel cancel_;
  std::optional<attempted<value>> end_;
  waiter* waiter_ = nullptr;  // null while x starts, and while it is asked to end
  bool is_over_ = false;
  bool asked_to_end_ = false;  // by await_cancel(), also while x started
  bool has_asked_ = false;     // cancel() was called
  foreign_detail::relay relay_;
};

template <class X, class Cancel>
class [[nodiscard]] foreign_awaitable {
 public:
  foreign_awaitable(X&& x, Cancel&& cancel) : x_(std::forward<X>(x)), cancel_(std::move(cancel)) {}
  foreign_operation<X, Cancel> operator co_await() && {
    return foreign_operation<X, Cancel>(std::forward<X>(x_), std::move(cancel_));
  }

 private:
  X x_;
  [[no_unique_address]] Cancel cancel_;
};

template <class X, class Cancel = std::nullptr_t>
foreign_awaitable<X, std::decay_t<Cancel>> foreign(X&& x, Cancel&& cancel = nullptr) {
  static_assert(foreign_detail::awaitable<X>,
                "kedge: foreign() takes what co_await takes in a plain coroutine: an awaiter, or a "
                "type with an operator co_await");
  static_assert(!awaitable<X>, "kedge: this is one of Kedge's awaitables: co_await it as it is");
#if KEDGE_DESTROYS_TWICE
  static_assert(
      std::is_lvalue_reference_v<X> || !is_destroyed_twice<X>(),
      "kedge: name this aggregate first and pass it by std::move: g++ 12 destroys it twice "
      "as a temporary of co_await");
#endif
  KEDGE_CHECK_CLOSURE(Cancel);
  return foreign_awaitable<X, std::decay_t<Cancel>>(
      std::forward<X>(x), std::decay_t<Cancel>(std::forward<Cancel>(cancel)));
}

}  // namespace kedge
