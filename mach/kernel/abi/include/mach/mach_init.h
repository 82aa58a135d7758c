// <mach/mach_init.h>: the rights that every task has from its start. This kernel gives them the
// same names in every task, so the two variables never change.
#pragma once

#include <pthread.h>

#include <mach/mach_types.h>
#include <mach/vm_page_size.h>

#ifdef __cplusplus
extern "C" {
#endif

extern mach_port_t mach_task_self_;
extern mach_port_t bootstrap_port;

// These names are reserved: the caller need not release them.
mach_port_t mach_host_self(void);
mach_port_t mach_thread_self(void);

// Returns the name of a thread's port, without another reference. On Darwin <pthread.h> declares
// it. The threads of a task share one thread port here.
mach_port_t pthread_mach_thread_np(pthread_t thread);

// Returns whether `task` is the port of the calling task.
boolean_t mach_task_is_self(task_name_t task);

// KERN_INVALID_ARGUMENT: not the host port. MACH_SEND_INVALID_DEST: not a send right.
kern_return_t host_page_size(host_t host, vm_size_t* out_page_size);

#ifdef __cplusplus
}
#endif

#define mach_task_self() mach_task_self_
#define current_task() mach_task_self()

#include <mach/mach_traps.h>

// The former meanings of the slots of mach_ports_register.
#define NAME_SERVER_SLOT 0
#define ENVIRONMENT_SLOT 1
#define SERVICE_SLOT 2
#define MACH_PORTS_SLOTS_USED 3
