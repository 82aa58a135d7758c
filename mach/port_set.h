// port_set: receives from several receive rights at once. received::tag() says by which of them a
// message arrived.
//
//     set.insert(control, 1);
//     set.insert(data, 2);
//     for (;;) {
//       mach::received m = (co_await set.receive()).value();
//       if (m.tag() == 1) ...
//     }
//
// The set does not own its members. A member that is destroyed or moved into a message leaves the
// set. A right can be a member of several sets, and a task can also receive from it alone.
#pragma once

#include <mach/mach.h>

#include <cstdint>

#include "kedge/mach/receive_right.h"

namespace kedge::mach {

class port_set {
 public:
  // Empty: not a set.
  port_set() = default;
  // Makes a set without members. Throws std::system_error or std::bad_alloc.
  static port_set make(const place& where = place::current());
  // Takes over the port set `name`. MACH_PORT_NULL and MACH_PORT_DEAD give an empty object. Throws
  // std::bad_alloc; the caller then still owns the set.
  static port_set adopt(mach_port_name_t name, const place& where = place::current());

  port_set(port_set&& other) noexcept;
  port_set& operator=(port_set&& other) noexcept;
  ~port_set() { destroy(); }

  // False if the object is empty: default-constructed, moved from, released or destroyed.
  explicit operator bool() const noexcept { return source_ != nullptr; }
  // The name, or MACH_PORT_NULL if empty. The object keeps the set.
  mach_port_name_t name() const noexcept;
  // Transfers the set to the caller. A task that awaits it gets errc::closed. Returns
  // MACH_PORT_NULL if empty.
  mach_port_name_t release() && noexcept;
  // Destroys the set, but not its members. The object is then empty.
  void destroy() noexcept;

  // Add and remove a member. `tag` is what received::tag() of its messages gives: of those that are
  // received from this set while the port is a member; 0 cannot be told from none. Throw
  // std::system_error: KERN_ALREADY_IN_SET, KERN_NOT_IN_SET; std::logic_error if the set or the
  // member is empty, or belongs to another space than the current one; and std::bad_alloc. Nothing
  // is changed then. Both are called on the thread of the loop that receives from the set.
  void insert(const receive_right& member, std::uint64_t tag = 0);
  void remove(const receive_right& member);

  // Waits for a message to any member, as receive_right::receive().
  receive_awaitable receive() const noexcept;
  // The messages that receive() has dropped.
  receive_losses losses() const noexcept;

 private:
  port_source* source_ = nullptr;
};

}  // namespace kedge::mach
