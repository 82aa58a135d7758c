// <mach/mach_init.h>: the rights that every task has from its start. This kernel gives them the
// same names in every task, so the two variables never change.
#pragma once

#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

extern mach_port_t mach_task_self_;
extern mach_port_t bootstrap_port;

// These names are reserved: the caller need not release them.
mach_port_t mach_host_self(void);
mach_port_t mach_thread_self(void);

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
