// <mach/std_types.h>: the types of MIG's interfaces.
#pragma once

#include <stdint.h>

#include <mach/boolean.h>
#include <mach/kern_return.h>
#include <mach/port.h>
#include <mach/vm_types.h>
