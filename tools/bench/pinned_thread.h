// A thread that stays on one core, so that what threads cost one another can be told from what the
// machine makes of it: a wake-up across cores costs tens of microseconds where they are virtual.
#pragma once

#include <thread>
#include <utility>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

// Of the calling thread; where the system lets it choose.
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
