// <mach/semaphore.h>: counting semaphores. <mach/task.h> creates and destroys them. A wait fails
// with KERN_OPERATION_TIMED_OUT, with KERN_ABORTED after a signal handler has run (with or without
// SA_RESTART), or with KERN_TERMINATED when the semaphore is destroyed. A time of zero does not
// wait.
#pragma once

#include <mach/kern_return.h>
#include <mach/mach_types.h>
#include <mach/port.h>
#include <mach/sync_policy.h>

#ifdef __cplusplus
extern "C" {
#endif

kern_return_t semaphore_signal(semaphore_t semaphore);
kern_return_t semaphore_signal_all(semaphore_t semaphore);
kern_return_t semaphore_wait(semaphore_t semaphore);
kern_return_t semaphore_timedwait(semaphore_t semaphore, mach_timespec_t wait_time);
kern_return_t semaphore_timedwait_signal(semaphore_t wait_semaphore, semaphore_t signal_semaphore,
                                         mach_timespec_t wait_time);
kern_return_t semaphore_wait_signal(semaphore_t wait_semaphore, semaphore_t signal_semaphore);
// Wakes `thread` if it waits, or any waiting thread if `thread` is null. KERN_NOT_WAITING if none
// waits; the count does not rise. The threads of a task share one thread port here, so `thread`
// means any thread of its task.
kern_return_t semaphore_signal_thread(semaphore_t semaphore, thread_t thread);

#ifdef __cplusplus
}
#endif
