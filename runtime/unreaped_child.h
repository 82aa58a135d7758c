// unreaped_child: a child process that this process has to wait for.
//
// reap_in_background() hands children that no loop waits for to one thread of the process. The
// thread is started by the first of them and ends with the last one. It looks at all of them, and
// at these only, after 1 ms, then 2, 4 and so on, and every 100 ms. If no thread can be started
// they stay zombies until the next call. Any thread. In the child of a fork the children are the
// parent's.
#pragma once

#include <sys/types.h>

#include <memory>

#include "kedge/runtime/base/list.h"

namespace kedge {

struct unreaped_child {
  pid_t pid = -1;
  base::list_link<unreaped_child> link = {};

  // Returns whether the child is there, running or ended: false if another wait has taken it.
  bool is_ours() const noexcept;
  // What a wait has found: the status, or that another wait has taken it.
  static constexpr int is_lost = -1;
  // The child runs, or a tracer still holds it.
  static constexpr int is_not_waitable = -2;

  // Waits for the child to end, and reaps it. Returns the status or is_lost.
  int wait() const noexcept { return wait_with(0); }
  // Reaps the child if it has ended, without waiting. Returns any of the three.
  int try_wait() const noexcept;

 private:
  int wait_with(int options) const noexcept;
};

void reap_in_background(std::unique_ptr<unreaped_child> child) noexcept;

}  // namespace kedge
