// call_probe: notes that a call has reached this library, for bypassed_calls.h.
#pragma once

#include <pthread.h>

#include <atomic>

namespace kedge::kqueue {

class call_probe {
 public:
  // Called by each definition of ours before it runs the next one. Any thread, also in a handler.
  static void note() noexcept {
    if (const pthread_t thread = thread_.load(std::memory_order_relaxed); thread != 0) [[unlikely]]
      if (thread == pthread_self()) reached_ = true;
  }

  // Runs `call` in this thread. Returns true if it has reached a definition of ours. One thread
  // at a time.
  template <class Call>
  static bool reaches(Call call) noexcept {
    reached_ = false;
    thread_.store(pthread_self(), std::memory_order_relaxed);
    call();
    thread_.store(0, std::memory_order_relaxed);
    return reached_;
  }

 private:
  static inline constinit std::atomic<pthread_t> thread_{0};
  static inline constinit bool reached_ = false;  // the probing thread's
};

}  // namespace kedge::kqueue
