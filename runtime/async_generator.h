// async_generator<T>: a coroutine that gives many values, and may wait between them.
//
//     kedge::async_generator<std::string> lines(kedge::descriptor& in) {
//       ...
//       co_yield line;
//     }
//     auto all = lines(in);
//     while (auto line = co_await all.next()) use(*line);
//     co_await kedge::for_each(lines(in), [](std::string line) { ... });
//
// A generator runs only within next(): it waits in the context of the caller of next(), that is in
// its loop and under its cancellation and deadlines. next() gives the next value, or nothing at the
// end, also again after it. An exception that leaves the generator is thrown by next(), once; the
// generator has ended then. Dropping a generator destroys it: its local destructors run. If a
// next() is in progress, that happens when this next() ends.
//
// Cancellation ends the generator: if a next() is cancelled, or ended by a with_timeout(), while
// the generator waits, the generator is destroyed where it waits, and later calls give its end. It
// loses what that wait declares. So a time-out for each item needs a task that produces and a
// channel: a receive from a channel that has timed out can be repeated. A value that was given and
// that its caller did not live to take is given by the next next().
//
// Threads: as for a task: made, moved and dropped on any thread before the first next(), and after
// that on the thread of the loop. Making one throws std::bad_alloc; steps allocate nothing.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/closure.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/task.h"

namespace kedge {

template <class T>
class async_generator;

namespace generator_detail {

// What a generator shares with its calls of next(). It lies in front of the coroutine's frame, in
// one block with it, and may outlive the coroutine: the block is released with the last reference.
// The frame is one of them.
class slot {
 public:
  // Returns the place for a frame of `size` bytes, behind a slot. Throws std::bad_alloc.
  static void* allocate_frame(std::size_t size) {
    void* const block = frame_recycler::allocate(offset() + size);
    new (block) slot(offset() + size);
    return static_cast<std::byte*>(block) + offset();
  }
  static slot& before(void* frame_address) noexcept {
    return *std::launder(
        reinterpret_cast<slot*>(static_cast<std::byte*>(frame_address) - offset()));
  }

  slot(const slot&) = delete;
  slot& operator=(const slot&) = delete;

  void retain() noexcept { ++references_; }
  void release() noexcept {
    if (--references_ == 0) frame_recycler::release(this, bytes_);
  }
  void destroy_body() noexcept {
    if (frame* const f = std::exchange(body, nullptr)) f->destroy();
  }

  frame* body = nullptr;  // null: it has ended
  bool is_awaited = false;
  bool is_dropped = false;

 private:
  explicit slot(std::size_t bytes) noexcept : bytes_(bytes) {}
  // Keeps the alignment of frames.
  static constexpr std::size_t offset() noexcept {
    constexpr std::size_t step = __STDCPP_DEFAULT_NEW_ALIGNMENT__;
    return (sizeof(slot) + step - 1) / step * step;
  }

  unsigned references_ = 1;
  std::size_t bytes_;
};

// A counted reference to a slot.
class slot_reference {
 public:
  explicit slot_reference(slot& s) noexcept : slot_(&s) { slot_->retain(); }
  slot_reference(const slot_reference& other) noexcept : slot_(other.slot_) { slot_->retain(); }
  slot_reference(slot_reference&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
  slot_reference& operator=(slot_reference other) noexcept {
    std::swap(slot_, other.slot_);
    return *this;
  }
  ~slot_reference() {
    if (slot_ != nullptr) slot_->release();
  }
  slot* operator->() const noexcept { return slot_; }
  explicit operator bool() const noexcept { return slot_ != nullptr; }

 private:
  slot* slot_;
};

template <class T>
class promise final : public task_detail::promise_base {
 public:
  static void* operator new(std::size_t size) { return slot::allocate_frame(size); }
  static void operator delete(void* f, std::size_t) noexcept { slot::before(f).release(); }

  // Allocates nothing: clang uses the frame after an exception of this function.
  async_generator<T> get_return_object() noexcept {
    slot& own = slot::before(handle().address());
    own.body = this;
    return async_generator<T>(slot_reference(own));
  }

  struct yielding {
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<promise> self) const noexcept {
      return self.promise().finish();
    }
    void await_resume() const noexcept {}
  };
  template <class U>
    requires std::is_constructible_v<T, U>
  yielding yield_value(U&& given) {
    value.emplace(std::forward<U>(given));
    return {};
  }
  static final_suspension final_suspend() noexcept { return {}; }
  void return_void() const noexcept {}

  using promise_base::rethrow_failure;

  std::optional<T> value;  // given, and not taken
};

}  // namespace generator_detail

template <class T>
class [[nodiscard]] async_generator {
  static_assert(std::is_object_v<T>, "kedge: a generator gives objects");
  using slot_reference = generator_detail::slot_reference;

 public:
  using promise_type = generator_detail::promise<T>;

  class next_operation {
   public:
    static constexpr operation_kind kind = operation_kind::coroutine;

    explicit next_operation(slot_reference&& s) noexcept : slot_(std::move(s)) {}
    next_operation(const next_operation&) = delete;
    next_operation& operator=(const next_operation&) = delete;
    // Leaves a value that was not taken to the next call.
    ~next_operation() {
      if (!runs_) return;
      slot_->is_awaited = false;
      if (slot_->body != nullptr && (slot_->is_dropped || !(goes_on_ || has_value()))) {
        slot_->destroy_body();
      }
    }

    bool await_ready() const noexcept {
      return !slot_->is_awaited && (slot_->body == nullptr || has_value());
    }
    std::coroutine_handle<> await_suspend(waiter& w) {
      static_assert(
          alignof(promise_type) <= 2 * sizeof(void*),
          "kedge: a generator gives no type of extended alignment: frames are not aligned to it");
      if (slot_->is_awaited) {
        throw std::system_error(make_error_code(errc::already_awaited), "kedge::async_generator");
      }
      slot_->is_awaited = runs_ = true;
      return slot_->body->start(w, slot_->body);
    }
    // The innermost wait of the generator is cancelled through the context that both share.
    bool await_cancel(cancel_cause) noexcept { return false; }
    std::exception_ptr await_failure() const noexcept {
      return slot_->body != nullptr ? body().failure() : nullptr;
    }
    std::optional<T> await_resume() {
      if (slot_->body == nullptr) return std::nullopt;
      promise_type& p = body();
      if (p.value) {
        goes_on_ = true;
        return std::exchange(p.value, std::nullopt);
      }
      p.rethrow_failure();
      return std::nullopt;
    }
    void describe(description& line) const noexcept { line.print("the next value of a generator"); }

   private:
    promise_type& body() const noexcept { return static_cast<promise_type&>(*slot_->body); }
    bool has_value() const noexcept { return body().value.has_value(); }

    slot_reference slot_;
    bool runs_ = false;     // it has started the body
    bool goes_on_ = false;  // it has taken a value: the body is at its co_yield
  };

  class [[nodiscard]] next_awaitable {
   public:
    explicit next_awaitable(slot_reference s) noexcept : slot_(std::move(s)) {}
    next_operation operator co_await() && noexcept { return next_operation(std::move(slot_)); }

   private:
    slot_reference slot_;
  };

  async_generator(async_generator&&) noexcept = default;
  async_generator& operator=(async_generator other) noexcept {
    std::swap(slot_, other.slot_);
    return *this;
  }
  ~async_generator() {
    if (!slot_) return;
    if (slot_->is_awaited) {
      slot_->is_dropped = true;
    } else {
      slot_->destroy_body();
    }
  }

  // Gives the next value as a std::optional<T>, empty at the end. One caller at a time: while a
  // next() is in progress another one throws std::system_error (errc::already_awaited). If the
  // generator is dropped before the wait begins, it gives the end. Must not be called on a
  // generator that was moved from.
  next_awaitable next() noexcept { return next_awaitable(slot_); }

 private:
  friend promise_type;
  explicit async_generator(slot_reference s) noexcept : slot_(std::move(s)) {}
  slot_reference slot_;
};

namespace generator_detail {

// Generator is an async_generator<T> or a reference to one.
template <class T, class Generator, class Fn>
task<> for_each(Generator generator, Fn fn) {
  while (std::optional<T> value = co_await generator.next()) {
    if constexpr (awaitable<std::invoke_result_t<Fn&, T>>) {
      co_await fn(*std::move(value));
    } else {
      fn(*std::move(value));
    }
  }
}

}  // namespace generator_detail

// Calls fn(value) for each value. If fn gives an awaitable, it is awaited before the next step.
// Ends with the generator; throws what it or fn throws. The first form keeps the generator and
// destroys it at the end, the second one uses the caller's. Throws std::bad_alloc.
template <class T, class Fn>
task<> for_each(async_generator<T>&& generator, Fn&& fn) {
  KEDGE_CHECK_CLOSURE(Fn);
  return generator_detail::for_each<T, async_generator<T>, std::decay_t<Fn>>(std::move(generator),
                                                                             std::forward<Fn>(fn));
}
template <class T, class Fn>
task<> for_each(async_generator<T>& generator, Fn&& fn) {
  KEDGE_CHECK_CLOSURE(Fn);
  return generator_detail::for_each<T, async_generator<T>&, std::decay_t<Fn>>(generator,
                                                                              std::forward<Fn>(fn));
}

}  // namespace kedge

#if KEDGE_DESTROYS_TWICE
template <class T, class... Parameters>
struct std::coroutine_traits<kedge::async_generator<T>, Parameters...> {
  using promise_type = typename kedge::async_generator<T>::promise_type;
  static_assert(kedge::parameters<(kedge::is_destroyed_twice<Parameters>() || ...)>::check());
};
#endif
