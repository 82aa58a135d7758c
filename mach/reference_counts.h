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
// belongs to another right.
//
// For send_right, dead_name and received messages. A message that was not sent yet owns references
// of the kernel's: 65,535 such messages at once with one right would fill its count. Threads: any.
// The parent's counts stay in a forked child until its objects go; they keep nothing alive there.
#pragma once

#include <mach/mach.h>

#include <cstdint>

#include "kedge/mach/ledger.h"

namespace kedge::mach::reference_counts {

// Counts one user reference, which it takes over from the caller. `where` is for the ledger.
// Requires a valid name of the current space. Throws std::bad_alloc; the caller then still owns the
// reference.
void adopt(std::uint32_t space, mach_port_name_t name, const place& where);
// The same. Returns false if there is no memory.
bool try_adopt(std::uint32_t space, mach_port_name_t name, const place& where) noexcept;
// Adds one to a name that is counted. Returns false if it is not.
bool add(std::uint32_t space, mach_port_name_t name) noexcept;
// Returns 0 for a name that is not counted.
std::uint64_t count(std::uint32_t space, mach_port_name_t name) noexcept;
// Subtracts one. The last one deallocates the kernel's reference, unless `space` is not current.
void drop(std::uint32_t space, mach_port_name_t name) noexcept;
// Subtracts one and gives the caller a user reference instead. Returns MACH_PORT_NULL if there is
// none: `space` is not current, or other code has released the name.
mach_port_name_t release(std::uint32_t space, mach_port_name_t name) noexcept;

// The space has ended, and its objects are gone without their destructors: what they counted is
// forgotten.
void forget(std::uint32_t space) noexcept;

}  // namespace kedge::mach::reference_counts
