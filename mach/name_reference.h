// name_reference: one user reference to a port name; the base of the rights that are such
// references.
//
// Send rights, send-once rights and dead names are released alike, by mach_port_deallocate: it is
// the one call that is right whichever of them the name has become meanwhile (a send right whose
// port dies turns into a dead name, lazily; ipc_right_dealloc). A name means something only in the
// space it was made in, so an object is used and destroyed with that space current.
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

  // False for one that is empty: default-constructed, moved from or released.
  explicit operator bool() const noexcept { return name_ != MACH_PORT_NULL; }

  // Lends the name; the reference stays this object's.
  mach_port_name_t name() const noexcept { return name_; }

  // Gives the name up to the caller, who releases it; MACH_PORT_NULL if empty.
  mach_port_name_t release() && noexcept {
    return std::exchange(name_, mach_port_name_t{MACH_PORT_NULL});
  }

 protected:
  // MACH_PORT_DEAD stands for no name either.
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
