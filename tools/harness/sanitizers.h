// sanitizers: which ones this is built with. For the files that have to tell them of other stacks.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEDGE_HARNESS_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define KEDGE_HARNESS_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define KEDGE_HARNESS_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define KEDGE_HARNESS_TSAN 1
#endif
