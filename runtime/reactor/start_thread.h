// start_thread(): starts a thread of the runtime's own, which takes no signals.
//
// A signal of the process then interrupts a thread of the program's, as it would without the
// runtime. The faults of a thread itself (SIGSEGV, SIGFPE ...) are not blocked.
#pragma once

#include <pthread.h>

namespace kedge {

// Returns 0, or the error of pthread_create(): EAGAIN if the system allows no further thread. The
// caller joins or detaches the thread. Any thread.
int start_thread(pthread_t& thread, void* (*run)(void*), void* argument) noexcept;

}  // namespace kedge
