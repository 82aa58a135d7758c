// Whether the process has a single thread, so that what threads share needs no atomic instruction.
#pragma once

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#endif

namespace kedge::mach::kernel {

// False as soon as a second thread is about to be made, and for as long as there may be one; it may
// be true again later. (The C library keeps it; where it does not, there are always threads.)
inline bool one_thread() noexcept {
#if __has_include(<sys/single_threaded.h>)
  return __libc_single_threaded != 0;
#else
  return false;
#endif
}

}  // namespace kedge::mach::kernel
