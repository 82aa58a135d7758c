// Common memory: pages that can be mapped at several addresses. What is written to one mapping is
// seen in all.
//
// Memory that this kernel did not allocate in a file, and private mappings of files, are copied
// into a new file in memory, which is then mapped in their place. Linux cannot do both at once: the
// range must be quiet during the call. What another thread writes to it then may be lost.
//
// Threads: all functions may be called from any thread.
#pragma once

#include <mach/kern_return.h>

#include <cstdint>

#include "kedge/mach/kernel/abi/address_space.h"
#include "kedge/mach/kernel/abi/memory_file.h"
#include "kedge/mach/kernel/core/copyio.h"

namespace kedge::mach::kernel::address_space {

// Makes the pages of the range common. Gives their file, which is held, and their offset in it.
// KERN_INVALID_ADDRESS: a part of the range is not mapped, cannot be read (as a private mapping
// behind the end of its file), or is common already with another file. KERN_NOT_SUPPORTED: a shared
// mapping that the program has made. KERN_RESOURCE_SHORTAGE. After an error the range is as before.
kern_return_t make_common(user_address start, std::uint64_t size, ref<memory_file>& file,
                          std::uint64_t& offset) noexcept;
// Makes the pages of one mapping of Linux ready to be shared with a fork's child. Errors as of
// make_common.
kern_return_t make_inherited(user_address start, std::uint64_t size) noexcept;
// The same as make_common for the first pages of the range, as far as they can be in one file:
// common pages that are there in order, or the pages before the first common one. Gives their size.
kern_return_t make_first_common(user_address start, std::uint64_t size, ref<memory_file>& file,
                                std::uint64_t& offset, std::uint64_t& common) noexcept;
// Makes the pages of a range common, in as many files as it takes, and maps them at `where` too,
// which may be over them. They can be read and written there.
kern_return_t map_again(user_address start, std::uint64_t size, const place& where,
                        user_address& at) noexcept;
// Maps common pages of a file, which is held.
kern_return_t map_common(const ref<memory_file>& file, std::uint64_t offset, std::uint64_t size,
                         const place& where, int protection, user_address& at) noexcept;

}  // namespace kedge::mach::kernel::address_space
