// on_small_stack: runs what must not recurse on a thread whose stack does not allow it to.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <functional>
#include <stdexcept>

namespace kedge {

// Whether a sanitizer makes memory and time several times as dear.
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

// A level of recursion takes more than 64 bytes, so both overflow the stack below.
inline constexpr int deep = sanitized ? 100'000 : 1'000'000;

inline void on_small_stack(std::function<void()> fn) {
  constexpr std::size_t stack = 256 * 1024;
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
