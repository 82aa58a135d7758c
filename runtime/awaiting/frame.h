// frame: the runtime's record of one coroutine; the base of every promise.
//
// Threads: memory may be allocated and released on any thread; all else is the loop's thread's.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>

#include "kedge/runtime/awaiting/context.h"
#include "kedge/runtime/awaiting/frame_recycler.h"
#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge {

class frame {
 public:
  frame(const frame&) = delete;
  frame& operator=(const frame&) = delete;

  static void* operator new(std::size_t size) { return frame_recycler::allocate(size); }
  static void operator delete(void* block, std::size_t size) noexcept {
    frame_recycler::release(block, size);
  }

  context& owner_context() const noexcept { return *context_; }

  // Every promise has its frame at offset 0 and the alignment of a pointer (see task.h), so the
  // handle is found without the promise's type.
  std::coroutine_handle<> handle() noexcept {
    return std::coroutine_handle<frame>::from_promise(*this);
  }

  // Binds the coroutine to its awaiter `continuation`, whose context it inherits, and to the
  // pointer that owns it. Returns the coroutine, which the caller resumes. Destroying the frames of
  // a context sets `owner` to null.
  std::coroutine_handle<> start(waiter& continuation, frame*& owner) noexcept {
    continuation_ = &continuation;
    context_ = &continuation.owner_context();
    owning = &owner;
    state_ = state::started;
    return handle();
  }

  // The awaiter. Requires that the coroutine has been started.
  const waiter& continuation() const noexcept { return *continuation_; }

  // Marks the coroutine done, at its final suspension. Returns the coroutine to resume: the awaiter
  // while the budget lasts, else none, and the awaiter is put into the ready queue.
  std::coroutine_handle<> finish() noexcept {
    state_ = state::done;
    reactor& r = context_->in_reactor();
    if (!r.spend_budget()) [[unlikely]] {
      context_->suspend_on(*continuation_);
      r.ready(*continuation_);
      return std::noop_coroutine();
    }
    if (const auto awaiter = continuation_->awaiting_coroutine()) return awaiter;
    return continuation_->proceed();
  }

  // Destroys the coroutine, after all that it awaits: innermost first, without recursion. Ends the
  // program if the coroutine is running.
  [[gnu::always_inline]] void destroy() noexcept {
    if (state_ == state::done) {
      handle().destroy();
    } else {
      destroy_now();
    }
  }

 protected:
  // Leaves what start() sets as it is.
  frame() noexcept {}
  ~frame() = default;

 private:
  friend class context;
  enum class state : unsigned char { created, started, done };

  void destroy_now() noexcept;

  // No two of the pointers that start() sets are neighbours: g++ would assemble them in a vector
  // register.
  waiter* continuation_;
  // Four bytes, which are initialised by one store.
  state state_ = state::created;

 protected:
  bool has_value_ = false;  // the promise holds one

 private:
  [[maybe_unused]] bool spare_[2] = {false, false};
  context* context_;

 protected:
  std::exception_ptr failure_;

 private:
  union {
    frame** owning;    // of a started coroutine
    frame* next_drop;  // of one that is being dropped unstarted
  };
};

inline frame* waiter::awaiting_frame() const noexcept {
  if (!coroutine_) return nullptr;
  return &std::coroutine_handle<frame>::from_address(coroutine_.address()).promise();
}

}  // namespace kedge
