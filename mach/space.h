// space: a task of this process, with an IPC space of its own, for a loop to run in.
//
//     kedge::mach::space peer;
//     kedge::mach::entered inside(peer);
//     kedge::loop loop;                  // a kqueue belongs to the space that it was made in
//     loop.set_hook(&peer);              // what the loop runs has the names of `peer`
//
// For tests and simulations: several loops, each in its space, are several tasks in one process. A
// right belongs to the space in which it was made, and is used and destroyed with that space
// current. Where a process is one task (Darwin) every space is that task.
//
// Destroying the space ends the task: its rights are gone, and its peers are told. A loop that runs
// in it must be gone by then.
#pragma once

#include <mach/mach.h>

#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/reactor/turn_hook.h"

namespace kedge::mach {

class space final : public turn_hook {
 public:
  // Throws std::bad_alloc.
  space();
  space(const space&) = delete;
  space& operator=(const space&) = delete;
  ~space();

  // Makes the space the thread's current one, and back. Nests.
  void enter() noexcept override;
  void leave() noexcept override;

  // Moves a right of the current space into this one, where it is found by the name returned
  // (send_right::adopt). Throws std::system_error: KERN_RIGHT_EXISTS if it has one to this port.
  mach_port_name_t give(send_right&& right);

 private:
  const kernel::task task_;
  std::vector<kernel::task> outer_;
};

// The space is current until the end of the scope: for what is done outside of its loop.
class entered {
 public:
  explicit entered(space& s) noexcept : space_(s) { space_.enter(); }
  entered(const entered&) = delete;
  entered& operator=(const entered&) = delete;
  ~entered() { space_.leave(); }

 private:
  space& space_;
};

}  // namespace kedge::mach
