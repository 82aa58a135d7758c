// fiber: a function on a stack of its own, which runs until it hands over, and goes on later.
//
// Threads: a fiber is resumed on one thread. There, resume() and hand_over() nest like a call and
// its return.
// Ownership: a fiber that is destroyed before its function has returned leaves the stack as it is:
// no destructor runs there. Stacks are kept for later fibers.
#pragma once

#include <cstddef>

namespace kedge::harness {

class fiber {
 public:
  // `run(argument)` must not throw, and must not return: it hands over for the last time by
  // finish(). Throws std::system_error if there is no memory for a stack.
  fiber(void (*run)(void* argument), void* argument);
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;
  ~fiber();

  // Runs the fiber until it hands over. Called outside of it.
  void resume() noexcept;
  // Goes on after resume(). Called by the fiber's function.
  void hand_over() noexcept;
  [[noreturn]] void finish() noexcept;

  // Whether the address is on the fiber's stack.
  bool holds(const void* address) const noexcept;

  static constexpr std::size_t stack_size = std::size_t{512} << 10;

 private:
  static void enter() noexcept;

  void (*const run_)(void*);
  void* const argument_;
  std::byte* const stack_;
  void* inside_ = nullptr;   // where the fiber goes on
  void* outside_ = nullptr;  // where resume() goes on
  // For the sanitizers.
  void* tsan_fiber_ = nullptr;
  void* tsan_outside_ = nullptr;
  const void* outer_stack_ = nullptr;
  std::size_t outer_size_ = 0;
};

}  // namespace kedge::harness
