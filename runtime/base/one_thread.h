// one_thread(): whether the process has a single thread, so that shared data needs no atomic
// instruction.
#pragma once

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#endif

namespace kedge::base {

// Returns false from the moment a second thread is about to be made, and as long as there may be
// one. May return true again later. The C library keeps the flag; without such a flag the result is
// always false.
inline bool one_thread() noexcept {
#if __has_include(<sys/single_threaded.h>)
  return __libc_single_threaded != 0;
#else
  return false;
#endif
}

}  // namespace kedge::base
