// port_reference: a user reference to a port in the current space, which the end of the scope
// releases. For calls of Mach that give one.
//
//     port_reference made;
//     check(mach_make_memory_entry_64(..., made.out(), ...), "mach_make_memory_entry_64");
//     return std::move(made).to_send_right(where);
//
// Threads: the caller's. The space in which it was made is current when it ends.
#pragma once

#include <mach/mach.h>

#include <utility>

#include "kedge/mach/send_right.h"

namespace kedge::mach {

class port_reference {
 public:
  // Takes over the reference to `name`. That of mach_task_self() needs no release, and has none.
  explicit port_reference(mach_port_t name = MACH_PORT_NULL) noexcept : name_(name) {}
  port_reference(const port_reference&) = delete;
  port_reference& operator=(const port_reference&) = delete;
  ~port_reference() {
    if (MACH_PORT_VALID(name_) && name_ != mach_task_self()) {
      mach_port_deallocate(mach_task_self(), name_);
    }
  }

  mach_port_t name() const noexcept { return name_; }
  // Where a call puts the name. Requires that the object is empty.
  mach_port_t* out() noexcept { return &name_; }
  // Gives the reference to the caller.
  mach_port_t release() noexcept { return std::exchange(name_, MACH_PORT_NULL); }
  // Makes a send right of the reference. Throws std::bad_alloc; this object keeps it then.
  send_right to_send_right(const place& where) && {
    send_right right = send_right::adopt(name_, where);
    release();
    return right;
  }

 private:
  mach_port_t name_;
};

}  // namespace kedge::mach
