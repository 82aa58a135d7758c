// drive_hook: runs around every drive of a loop, and around spawning, cancelling and destroying its
// coroutines outside of a drive.
//
// For state of the thread that must be the loop's while the loop's coroutines run: with it, `mach`
// makes the loop's task (its IPC space) the thread's current one. Both functions run on the loop's
// thread, in pairs; a drive of another loop may nest within a pair.
#pragma once

namespace kedge {

class drive_hook {
 public:
  virtual void enter() noexcept = 0;
  virtual void leave() noexcept = 0;

 protected:
  drive_hook() = default;
  ~drive_hook() = default;
};

}  // namespace kedge
