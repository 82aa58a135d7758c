// replace_by_file(): pages of this process become pages of a file in memory.
#pragma once

#include <cstdint>

#include "kedge/mach/kernel/core/copyio.h"

namespace kedge::mach::kernel::address_space {

// Copies the pages to the start of the file and maps that in their place, as MAP_SHARED and with
// the protection (PROT_*). The pages must be readable. They may hold the stack of the calling
// thread, the heap, or the variables of this library: between the copy and the mapping this thread
// writes to no memory, and runs no signal handler. Returns 0, or an errno of Linux. If that is of
// the first GiB, the pages are as before; else those of each GiB before are mapped from the file.
int replace_by_file(user_address at, std::uint64_t size, int fd, int protection) noexcept;

}  // namespace kedge::mach::kernel::address_space
