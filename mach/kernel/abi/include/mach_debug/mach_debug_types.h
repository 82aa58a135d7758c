// <mach_debug/mach_debug_types.h>: the types of the calls that inspect a task's names.
#pragma once

#include <mach_debug/ipc_info.h>

#define KOBJECT_DESCRIPTION_LENGTH 512
typedef char kobject_description_t[KOBJECT_DESCRIPTION_LENGTH];
