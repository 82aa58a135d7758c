// <mach/mach_types.h>: types of the names by which a task refers to kernel objects.
#pragma once

#include <mach/clock_types.h>
#include <mach/message.h>
#include <mach/port.h>
#include <mach/std_types.h>
#include <mach/task_special_ports.h>

typedef mach_port_t task_t;
typedef mach_port_t task_name_t;
typedef mach_port_t task_inspect_t;
typedef mach_port_t task_read_t;
typedef mach_port_t thread_t;
typedef mach_port_t thread_act_t;
typedef mach_port_t ipc_space_t;
typedef mach_port_t ipc_space_read_t;
typedef mach_port_t ipc_space_inspect_t;
typedef mach_port_t host_t;
typedef mach_port_t host_name_port_t;
typedef mach_port_t semaphore_t;
typedef mach_port_t bootstrap_t;
typedef mach_port_t vm_map_t;
typedef mach_port_t vm_map_read_t;
typedef mach_port_t mem_entry_name_port_t;

#define TASK_NULL ((task_t)0)
#define THREAD_NULL ((thread_t)0)
#define SEMAPHORE_NULL ((semaphore_t)0)
#define HOST_NULL ((host_t)0)
#define VM_MAP_NULL ((vm_map_t)0)
#define IPC_SPACE_NULL ((ipc_space_t)0)
