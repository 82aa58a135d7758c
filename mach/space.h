// space: a Mach task inside this process, with an IPC space of its own, for a loop to run in.
// scoped_space: makes a space current for a scope.
//
//     kedge::mach::space peer;
//     kedge::mach::scoped_space inside(peer);
//     kedge::loop loop;                  // its coroutines run with the names of `peer`
//
// For tests and simulations: several loops, each in its own space, are several tasks in one
// process. A loop that is made in a space runs its coroutines there (loop::set_hook()), wherever it
// is driven. A right belongs to the space in which it was made. Use and destroy it with that space
// current. On Darwin a process is one task, and every space is that task.
//
// Destroying the space ends the task: its rights are destroyed, and the kernel notifies its peers.
// Destroy a loop that runs in the space first.
#pragma once

#include <mach/mach.h>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/reactor/drive_hook.h"

namespace kedge::mach {

class space final : public drive_hook {
 public:
  // Throws std::bad_alloc.
  space();
  space(const space&) = delete;
  space& operator=(const space&) = delete;
  ~space();

  // Makes the space the calling thread's current one; leave() restores the one before. Nests.
  // Several threads may be in the space.
  void enter() noexcept override;
  void leave() noexcept override;

  // Moves `right` from the current space into this one and returns its name there, for
  // send_right::adopt: a fresh name, or the one by which the space has the right already. Throws
  // std::system_error if the port is dead. `right` is consumed in any case. Any thread.
  mach_port_name_t give(send_right&& right);
  // The same for a receive right, which moves with its queue, for receive_right::adopt. Tasks that
  // await it get errc::closed. Throws std::system_error if this space has ended or has no room for
  // the name.
  mach_port_name_t give(receive_right&& right);
  // Moves the receive right `name` of this space into the current one. In this space no object may
  // own it: release() gives it up. Throws what receive_right::extract() throws. Any thread.
  receive_right take_receive(mach_port_name_t name, const place& where = place::current());

 private:
  const kernel::task task_;
};

// Makes a space the calling thread's current one until the end of the scope. For code outside of
// the space's loop; never across a co_await.
class scoped_space {
 public:
  explicit scoped_space(space& s) noexcept : space_(s) { space_.enter(); }
  scoped_space(const scoped_space&) = delete;
  scoped_space& operator=(const scoped_space&) = delete;
  ~scoped_space() { space_.leave(); }

 private:
  space& space_;
};

}  // namespace kedge::mach
