// What every task has from its start. The names of these rights are the same in every task of this
// kernel, so the two variables are constants in all but type.
#pragma once

#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

extern mach_port_t mach_task_self_;
extern mach_port_t bootstrap_port;

// Reserved names: releasing them is not needed.
mach_port_t mach_host_self(void);
mach_port_t mach_thread_self(void);

#ifdef __cplusplus
}
#endif

#define mach_task_self() mach_task_self_
#define current_task() mach_task_self()

#include <mach/mach_traps.h>

// What the ports of mach_ports_register once stood for.
#define NAME_SERVER_SLOT 0
#define ENVIRONMENT_SLOT 1
#define SERVICE_SLOT 2
#define MACH_PORTS_SLOTS_USED 3
