// drive_hook: runs around every drive of a loop, and around spawning, cancelling and destroying its
// coroutines outside of a drive.
//
// For state of the thread that must be the loop's while the loop's coroutines run: with it, `mach`
// makes the loop's task (its IPC space) the thread's current one. Both functions run on the loop's
// thread, in pairs; a drive of another loop may nest within a pair.
#pragma once

#include <utility>

namespace kedge {

class drive_hook {
 public:
  virtual void enter() noexcept = 0;
  virtual void leave() noexcept = 0;

  // For process_state.
  static void* address_of_current() noexcept { return static_cast<void*>(&current_); }

  // Returns the hook whose state is the calling thread's, or null: the last one that an
  // implementation of enter() has made current.
  static drive_hook* current() noexcept { return current_; }

 protected:
  drive_hook() = default;
  ~drive_hook() = default;

  // For implementations of enter() and leave(). Returns the hook that was current.
  static drive_hook* make_current(drive_hook* next) noexcept {
    return std::exchange(current_, next);
  }

 private:
  static inline constinit thread_local drive_hook* current_ = nullptr;
};

}  // namespace kedge
