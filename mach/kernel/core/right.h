// What can be done with the rights under a name. All of these are called with the space locked, and
// leave it so. What follows from releasing a right (notifications, the death of a port) can only be
// done without locks: it is added to `owed`, which the caller settles once the space is unlocked
// (Darwin: ipc_right.c).
#pragma once

#include <mach/message.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/guard_violation.h"
#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/mach/kernel/core/name_request.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/space.h"

namespace kedge::mach::kernel {

class port_set;

inline constexpr mach_port_urefs_t max_urefs = 65535;

// Things to be done in order when no lock is held. There is room for those of four rights; whoever
// deals with more settles whenever it is full.
class owed {
 public:
  enum class kind : std::uint8_t {
    no_senders,
    port_deleted,
    dead_name,
    send_possible,
    send_once,
    end_port,
    end_set
  };

  owed() = default;
  owed(const owed&) = delete;
  owed& operator=(const owed&) = delete;

  // `target` is consumed: a send-once right to be notified; a port or set with a reference to be
  // destroyed.
  void add(kind what, object* target, natural_t word = 0) noexcept {
    debts_[count_++] = {target, word, what};
  }
  bool full() const noexcept { return count_ == debts_.size(); }
  void settle(deferred_work& after) noexcept {
    if (count_) settle_all(after);
  }

 private:
  struct debt {
    object* target;
    natural_t word;
    kind what;
  };
  void settle_all(deferred_work& after) noexcept;

  std::size_t count_ = 0;
  std::array<debt, 4> debts_;
};

// Locks the port of a send or send-once right if it is alive; else makes the entry the dead name
// that it has become (Darwin: ipc_right_check).
bool lock_if_alive(space& in, mach_port_name_t name, entry& found) noexcept;

// If the entry is a send or send-once right of a dead port, makes it the dead name that it has
// become. True: it is one now.
bool convert_if_dead(space& in, mach_port_name_t name, entry& found) noexcept;

// The bits of a request in a type; none if its slot is free.
mach_port_type_t type_of(const name_request& request) noexcept;
// The type as mach_port_names tells it: with the bits of its request, and a right of a dead port as
// the dead name that it will become. Changes nothing.
mach_port_type_t type_of(const entry& found) noexcept;

kern_return_t deallocate_right(space& in, mach_port_name_t name, entry& found, owed& then,
                               guard_violation& guard);
kern_return_t destroy_rights(space& in, mach_port_name_t name, entry& found, owed& then,
                             guard_violation& guard, deferred_work& after);
// Without regard to guards: the space is ending.
void terminate_rights(space& in, mach_port_name_t name, entry& found, owed& then,
                      deferred_work& after);
kern_return_t change_refs(space& in, mach_port_name_t name, entry& found, mach_port_right_t right,
                          mach_port_delta_t delta, owed& then, guard_violation& guard,
                          deferred_work& after);
kern_return_t destruct_receive(space& in, mach_port_name_t name, entry& found,
                               mach_port_delta_t send_delta, mach_port_context_t context,
                               owed& then, guard_violation& guard, deferred_work& after);

// What a right is copied in for.
enum class purpose : std::uint8_t {
  carrying,     // of a dead port it becomes MACH_PORT_DEAD
  reply,        // the same, as a message's reply port
  destination,  // of a dead port: KERN_INVALID_CAPABILITY, nothing consumed; but an unconverted
                // send-once right passes
};

// Would copy_in accept this? Changes nothing.
bool may_copy_in(const entry& found, mach_msg_type_name_t disposition) noexcept;

// Takes a right out of the space, or a copy of it. KERN_INVALID_RIGHT, KERN_INVALID_CAPABILITY (see
// purpose, or the port's rights are not for that). A receive right that was taken out must next be
// bound (transit) or put into a space. With a guarded descriptor a receive right must be as it
// says: KERN_INVALID_ARGUMENT if it is not.
kern_return_t copy_in(space& in, mach_port_name_t name, entry& found,
                      mach_msg_type_name_t disposition, purpose use, carried_right& taken,
                      owed& then, guard_violation& guard, deferred_work& after,
                      const mach_msg_guarded_port_descriptor_t* guarded = nullptr);

// A copy of a send right, as a call carries it that takes a port: null and dead names are taken as
// such. MACH_SEND_INVALID_RIGHT, as the message would be refused. The space must not be locked.
kern_return_t take_copy(space& from, mach_port_name_t name, carried_right& taken,
                        guard_violation& guard, deferred_work& after);

// Puts a right into the space under the name that it has there, or a new one. Null and dead rights
// give MACH_PORT_NULL and MACH_PORT_DEAD. KERN_NO_SPACE leaves the right where it is.
kern_return_t copy_out(space& in, carried_right& right, mach_port_name_t& name);

// The same under a given name, which must be free, or (send, receive) denote the same port.
// KERN_NAME_EXISTS, KERN_NO_SPACE, KERN_RIGHT_EXISTS, KERN_INVALID_CAPABILITY (the port is dead);
// then the right stays where it is.
kern_return_t copy_out_at(space& in, carried_right& right, mach_port_name_t name);

// The disposition with which a right arrives that was sent with this one; 0 if it is none.
mach_msg_type_name_t arrives_as(mach_msg_type_name_t disposition) noexcept;

}  // namespace kedge::mach::kernel
