// reference_counts: how many objects of the library refer to each send right or dead name. One user
// reference of the kernel's stands for all of them.
//
// The kernel counts user references in 16 bits, and a count that has reached 65,535 never falls
// again (ipc_right_copyout): a peer that sent one right often enough would keep it alive for ever.
// So a reference that arrives for a name that is counted here is deallocated at once, and a copy of
// a right costs the kernel nothing.
//
// A name has a meaning only in its space, so every function takes the space's incarnation
// (space_incarnation.h). In another space than the current one nothing is released: there the name
// is somebody else's.
//
// For send_right, dead_name and messages. Threads: any. The parent's counts stay in a forked child
// until its objects go; they keep nothing alive there.
#pragma once

#include <mach/mach.h>

#include <cstdint>

namespace kedge::mach::reference_counts {

// Counts one user reference, which it takes over from the caller. Requires a valid name of the
// current space. Throws std::bad_alloc; the caller then still owns the reference.
void adopt(std::uint32_t space, mach_port_name_t name);
// Adds one to a name that is counted. Returns false if it is not.
bool add(std::uint32_t space, mach_port_name_t name) noexcept;
// Subtracts one. The last one deallocates the kernel's reference, unless `space` is not current.
void drop(std::uint32_t space, mach_port_name_t name) noexcept;
// Subtracts one and gives the caller a user reference instead. Returns MACH_PORT_NULL if there is
// none: `space` is not current, or somebody else has released the name.
mach_port_name_t release(std::uint32_t space, mach_port_name_t name) noexcept;

// For a message, which owns one count of each send right in it: how mach_msg has to take the right.
// MACH_MSG_TYPE_MOVE_SEND if this count is the last one, which then is given up;
// MACH_MSG_TYPE_COPY_SEND otherwise. One of the three below must follow.
mach_msg_type_name_t lend(std::uint32_t space, mach_port_name_t name) noexcept;
// The kernel has taken the right.
void sent(std::uint32_t space, mach_port_name_t name, mach_msg_type_name_t lent_as) noexcept;
// The kernel has not touched the right. The message owns its count again.
void kept(std::uint32_t space, mach_port_name_t name, mach_msg_type_name_t lent_as) noexcept;
// The kernel has taken the right and given a reference to `returned` back, which may be another
// name, or MACH_PORT_DEAD. Returns the name of which the message owns a count now, if any.
mach_port_name_t came_back(std::uint32_t space, mach_port_name_t name, mach_msg_type_name_t lent_as,
                           mach_port_name_t returned) noexcept;

}  // namespace kedge::mach::reference_counts
