// Mach IPC. <mach/notify.h>, <mach/mig_errors.h>, <mach/mach_error.h> and <mach/mach_time.h> are
// included by themselves, as on Darwin.
#pragma once

#include <mach/mach_types.h>

#include <mach/mach_init.h>
#include <mach/mach_port.h>
#include <mach/vm_map.h>
