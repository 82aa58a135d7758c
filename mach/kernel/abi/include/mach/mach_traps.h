// Calls that are traps on Darwin, beside mach_msg: none that Apple declares for programs is served
// here. mach_reply_port is there for those that declare it themselves, as on Darwin, whose header
// hides it behind PRIVATE.
#pragma once

#include <mach/port.h>
