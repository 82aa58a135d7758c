// turn_hook: runs around every drive of a loop, and around what else reaches its coroutines:
// spawning, cancelling and destroying them from outside of a drive.
//
// For what is the thread's and must be the loop's while its coroutines run: `mach` makes the loop's
// task (its IPC space) the thread's current one by it.
#pragma once

namespace kedge {

class turn_hook {
 public:
  virtual void enter() noexcept = 0;
  virtual void leave() noexcept = 0;

 protected:
  turn_hook() = default;
  ~turn_hook() = default;
};

}  // namespace kedge
