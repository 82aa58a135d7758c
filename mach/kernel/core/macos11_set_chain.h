// macos11_set_chain: imitates the chain of links by which a port of macOS 11 knows its sets
// (Darwin: waitq.c of xnu-7195). Programs can see two effects:
//
// - A port forgets a destroyed set late. Until then mps_pset counts the set. Here the membership
//   stays, stale, without a set. All profiles do this.
// - mach_port_extract_member answers KERN_NOT_IN_SET to a port that leaves one of several sets,
//   though the port leaves the set. Only the macos11 profile does this.
//
// Locks: each function requires the port lock, unless it says otherwise.
#pragma once

#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {

// Whether the set was destroyed.
inline bool is_stale(const membership& link) noexcept {
  return link.set == nullptr;
}

// Removes a stale membership from its port, and deletes it.
void forget(membership& stale) noexcept;

// Forgets the destroyed set that is the port's only set. Called when the port joins a set or gets a
// message.
void forget_only_stale(port& member) noexcept;

// Removes the port from a set that is being destroyed. The port keeps the membership as a stale
// one, up to 16 of them. The port lock and the set's lock must not be held.
void make_stale(port& member, ipc_port_set& set) noexcept;

// Takes the port out of the set as macOS 11 does. Returns whether macOS 11 reports success.
bool extract_from_chain(port& member, const ipc_port_set& set);

}  // namespace kedge::mach::kernel
