// counted_name: one count of a name (reference_counts.h). The base class of send_right and
// dead_name.
//
// A name has a meaning only in the space in which it was made. An object of another space, or of
// the parent before a fork, releases nothing; builds without NDEBUG report it.
//
// Threads: objects may be used on any thread, each by one thread at a time.
#pragma once

#include <mach/mach.h>

#include <cstdint>
#include <utility>

#include "kedge/mach/reference_counts.h"
#include "kedge/mach/space_incarnation.h"

namespace kedge::mach {

class counted_name {
 public:
  counted_name() = default;
  counted_name(counted_name&& other) noexcept
      : name_(std::exchange(other.name_, mach_port_name_t{MACH_PORT_NULL})), space_(other.space_) {}
  counted_name& operator=(counted_name&& other) noexcept {
    if (this != &other) {
      reset();
      name_ = std::exchange(other.name_, mach_port_name_t{MACH_PORT_NULL});
      space_ = other.space_;
    }
    return *this;
  }
  ~counted_name() { reset(); }

  // False if the object is empty: default-constructed, moved from or released.
  explicit operator bool() const noexcept { return name_ != MACH_PORT_NULL; }

  // The name, or MACH_PORT_NULL if empty. The object keeps its reference.
  mach_port_name_t name() const noexcept { return name_; }
  // The incarnation of the space in which the name has its meaning.
  std::uint32_t space() const noexcept { return space_; }

  // Gives the caller a user reference of the kernel's, which it has to release. Returns
  // MACH_PORT_NULL if the object is empty, or if another space than its own is current.
  mach_port_name_t release() && noexcept {
    const mach_port_name_t name = std::exchange(name_, mach_port_name_t{MACH_PORT_NULL});
    return name == MACH_PORT_NULL ? name : reference_counts::release(space_, name);
  }

 protected:
  // A count that the caller owns.
  counted_name(std::uint32_t space, mach_port_name_t name) noexcept : name_(name), space_(space) {}
  counted_name(const counted_name& other) noexcept : name_(other.name_), space_(other.space_) {
    if (name_ != MACH_PORT_NULL) reference_counts::add(space_, name_);
  }

  // Takes over one user reference of the caller. Throws std::bad_alloc; the caller then still owns
  // it. MACH_PORT_NULL and MACH_PORT_DEAD give an empty object.
  counted_name(mach_port_name_t name, const place& where) {
    if (!MACH_PORT_VALID(name)) return;
    space_ = space_incarnation();
    reference_counts::adopt(space_, name, where);
    name_ = name;
  }

  // Transfers the count to the caller.
  mach_port_name_t release_count() noexcept {
    return std::exchange(name_, mach_port_name_t{MACH_PORT_NULL});
  }

 private:
  void reset() noexcept {
    if (name_ != MACH_PORT_NULL) reference_counts::drop(space_, name_);
  }

  mach_port_name_t name_ = MACH_PORT_NULL;
  std::uint32_t space_ = 0;
};

}  // namespace kedge::mach
