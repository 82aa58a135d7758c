// Calls on a task that are not about its names.
#pragma once

#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

// The semaphore belongs to `task`, with which it ends.
kern_return_t semaphore_create(task_t task, semaphore_t* semaphore, int policy, int value);
// Consumes the send right.
kern_return_t semaphore_destroy(task_t task, semaphore_t semaphore);

#ifdef __cplusplus
}
#endif
