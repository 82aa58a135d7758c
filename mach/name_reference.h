// name_reference: one user reference to a port name. The base class of send_right, send_once_right,
// reply_right and dead_name.
//
// The destructor releases the reference with mach_port_deallocate, the one call that is right for
// send rights, send-once rights and dead names alike. (When a port dies its send rights become dead
// names, lazily: ipc_right_dealloc.) A name has a meaning only in the space in which it was made.
// Use and destroy the object with that space current.
#pragma once

#include <mach/mach.h>

#include <utility>

namespace kedge::mach {

class name_reference {
 public:
  name_reference() = default;
  name_reference(name_reference&& other) noexcept
      : name_(std::exchange(other.name_, mach_port_name_t{MACH_PORT_NULL})) {}
  name_reference& operator=(name_reference&& other) noexcept {
    if (this != &other) reset(std::exchange(other.name_, mach_port_name_t{MACH_PORT_NULL}));
    return *this;
  }
  ~name_reference() { reset(MACH_PORT_NULL); }

  // False if the object is empty: default-constructed, moved from or released.
  explicit operator bool() const noexcept { return name_ != MACH_PORT_NULL; }

  // The name, or MACH_PORT_NULL if empty. The object keeps the reference.
  mach_port_name_t name() const noexcept { return name_; }

  // Transfers the reference to the caller. Returns MACH_PORT_NULL if empty.
  mach_port_name_t release() && noexcept {
    return std::exchange(name_, mach_port_name_t{MACH_PORT_NULL});
  }

 protected:
  // MACH_PORT_NULL and MACH_PORT_DEAD give an empty object.
  explicit name_reference(mach_port_name_t name) noexcept
      : name_(MACH_PORT_VALID(name) ? name : mach_port_name_t{MACH_PORT_NULL}) {}

 private:
  void reset(mach_port_name_t name) noexcept {
    if (name_ != MACH_PORT_NULL) mach_port_deallocate(mach_task_self(), name_);
    name_ = name;
  }

  mach_port_name_t name_ = MACH_PORT_NULL;
};

}  // namespace kedge::mach
