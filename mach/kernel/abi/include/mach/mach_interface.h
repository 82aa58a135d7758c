// <mach/mach_interface.h>: includes the interfaces of the kernel's objects.
#pragma once

#include <mach/clock.h>
#include <mach/notify.h>
#include <mach/semaphore.h>
#include <mach/task.h>
#include <mach/thread_act.h>
#include <mach/vm_map.h>
