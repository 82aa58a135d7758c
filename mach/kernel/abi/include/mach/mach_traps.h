// <mach/mach_traps.h>: empty. On Darwin it declares the calls that are traps, except mach_msg; none
// of those that Apple declares for programs is implemented here. mach_reply_port is implemented,
// for programs that declare it themselves: Darwin's header hides it behind PRIVATE.
#pragma once

#include <mach/port.h>
