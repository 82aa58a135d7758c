// pinned_thread(), take_turns(): threads that stay on one core.
//
// So the cost of a wakeup is not hidden by the machine's: across virtual cores one costs tens of
// microseconds.
#pragma once

#include <cstdint>
#include <thread>
#include <utility>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

// Binds the calling thread to a core. No effect where the system does not support it.
inline void stay_on(unsigned core) {
#if defined(__linux__)
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(core % std::thread::hardware_concurrency(), &only);
  pthread_setaffinity_np(pthread_self(), sizeof only, &only);
#else
  static_cast<void>(core);
#endif
}

template <typename Work>
std::thread pinned_thread(unsigned core, Work work) {
  return std::thread([core, work = std::move(work)] {
    stay_on(core);
    work();
  });
}

// Two threads on one core wake each other in turn, n times each. Waiter has wake(), and wait(),
// which returns once for each wake().
template <typename Waiter>
void take_turns(std::uint64_t n) {
  Waiter here, there;
  std::thread other = pinned_thread(0, [&] {
    for (std::uint64_t i = 0; i < n; ++i) {
      there.wait();
      here.wake();
    }
  });
  std::thread one = pinned_thread(0, [&] {
    for (std::uint64_t i = 0; i < n; ++i) {
      there.wake();
      here.wait();
    }
  });
  one.join();
  other.join();
}
