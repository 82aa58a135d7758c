// frame: the runtime's record of one coroutine; the base of every promise.
//
// Threads: memory may be allocated and released on any thread; all else is the loop's thread's.
#pragma once

#include <coroutine>
#include <cstddef>

#include "kedge/runtime/awaiting/frame_recycler.h"
#include "kedge/runtime/awaiting/waiter.h"

namespace kedge {

class frame {
 public:
  enum class state : unsigned char { created, started, done };

  frame(const frame&) = delete;
  frame& operator=(const frame&) = delete;

  static void* operator new(std::size_t size) { return frame_recycler::allocate(size); }
  static void operator delete(void* block, std::size_t size) noexcept {
    frame_recycler::release(block, size);
  }

  context& owner_context() const noexcept { return *context_; }
  std::coroutine_handle<> handle() const noexcept { return handle_; }

  // Binds the coroutine to its awaiter `continuation`, whose context it inherits, and to the
  // pointer that owns it. Returns the coroutine, which the caller resumes. Destroying the frames of
  // a context sets `owner` to null.
  std::coroutine_handle<> start(waiter& continuation, frame*& owner) noexcept {
    continuation_ = &continuation;
    context_ = &continuation.owner_context();
    owner_ = &owner;
    state_ = state::started;
    return handle_;
  }

  // Marks the coroutine done, at its final suspension. Returns the coroutine to resume: the awaiter
  // while the budget lasts, else none, and the awaiter is put into the ready queue.
  std::coroutine_handle<> finish() noexcept;

  // Destroys the coroutine, after all that it awaits: innermost first, without recursion. Ends the
  // program if the coroutine is running.
  void destroy() noexcept;

  bool done() const noexcept { return state_ == state::done; }

 protected:
  explicit frame(std::coroutine_handle<> handle) noexcept : handle_(handle) {}
  ~frame() = default;

 private:
  friend class context;
  std::coroutine_handle<> handle_;
  waiter* continuation_ = nullptr;
  context* context_ = nullptr;
  frame** owner_ = nullptr;
  state state_ = state::created;
};

}  // namespace kedge
