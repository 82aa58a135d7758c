// <mach/mach_interface.h>: includes the interfaces of the kernel's objects.
#pragma once

#include <mach/semaphore.h>
#include <mach/task.h>
#include <mach/vm_map.h>
