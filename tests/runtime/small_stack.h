// on_small_stack: runs a function on a thread with a stack of 64 KiB, or 256 KiB under a sanitizer,
// which deep recursion would overflow.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <functional>
#include <stdexcept>

namespace kedge {

// True under a sanitizer, where memory and time cost several times as much.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#else
inline constexpr bool sanitized = false;
#endif

// A depth of recursion that overflows the small stack in every build: a level takes more than 64
// bytes.
inline constexpr int deep = sanitized ? 100'000 : 1'000'000;

// Returns when fn has. Throws std::runtime_error if there can be no thread.
inline void on_small_stack(std::function<void()> fn) {
  constexpr std::size_t stack = (sanitized ? 256 : 64) * 1024;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stack);
  pthread_t thread;
  const auto run = [](void* f) -> void* {
    (*static_cast<std::function<void()>*>(f))();
    return nullptr;
  };
  const int error = pthread_create(&thread, &attributes, run, &fn);
  pthread_attr_destroy(&attributes);
  if (error != 0) throw std::runtime_error("pthread_create");
  pthread_join(thread, nullptr);
}

}  // namespace kedge
