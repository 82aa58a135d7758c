// What the library's own files write into the ledger (ledger.h). With NDEBUG all of it is empty:
// for .cc files only, since a program may be built in another way than the library.
#pragma once

#include <mach/mach.h>

#include <cstdint>

#include "kedge/mach/ledger.h"

namespace kedge::mach::ledger {

#ifdef NDEBUG

inline void record(kind, std::uint32_t, mach_port_name_t, const place&) noexcept {}
inline void record_taken(kind, std::uint32_t, mach_port_name_t, const place&) noexcept {}
inline void erase(kind, std::uint32_t, mach_port_name_t) noexcept {}
inline void report_end(std::uint32_t) noexcept {}
inline void forget(std::uint32_t) noexcept {}
inline void lock_for_fork() noexcept {}
inline void unlock_after_fork() noexcept {}

#else

// A right is owned from now on. Nothing is recorded if there is no memory, and for a right
// of place(), which is the library's own, unless it is a send right.
void record(kind what, std::uint32_t space, mach_port_name_t name, const place& where) noexcept;
// The same, for a right that was recorded when it arrived in a message: the place is where it was
// taken out. No effect if the right has another place already.
void record_taken(kind what, std::uint32_t space, mach_port_name_t name,
                  const place& where) noexcept;
void erase(kind what, std::uint32_t space, mach_port_name_t name) noexcept;
// The space ends: writes its entries to standard error, and drops them.
void report_end(std::uint32_t space) noexcept;
// The same, without a word.
void forget(std::uint32_t space) noexcept;
// For the fork handlers of reference_counts, which writes the ledger under its own lock.
void lock_for_fork() noexcept;
void unlock_after_fork() noexcept;

#endif

// The place of a send right that has arrived and was not taken out.
inline constexpr place in_message{};

}  // namespace kedge::mach::ledger
