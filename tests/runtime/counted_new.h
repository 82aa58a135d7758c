// counted_new: counters of the global operators new and delete, which counted_new.cc replaces in a
// binary that links it. Can make one allocation fail.
//
// Not under ThreadSanitizer, whose runtime defines these operators itself: nothing is counted
// there, and nothing fails.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define KEDGE_COUNTED_NEW 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEDGE_COUNTED_NEW 0
#endif
#endif
#ifndef KEDGE_COUNTED_NEW
#define KEDGE_COUNTED_NEW 1
#endif

namespace kedge {

inline constexpr bool counts_allocations = KEDGE_COUNTED_NEW != 0;

// The calls by the calling thread.
inline thread_local long allocated = 0;
inline thread_local long freed = 0;
// The bytes that the calling thread has allocated and not freed. What it frees for another thread
// counts as well.
inline thread_local long live_bytes = 0;

// How many allocations by the calling thread succeed before one fails; -1: none fails. Is -1 again
// after the failure.
inline thread_local long until_failure = -1;

}  // namespace kedge
