// Calls that are traps on Darwin, beside mach_msg.
#pragma once

#include <mach/port.h>

#ifdef __cplusplus
extern "C" {
#endif

// A new receive right; MACH_PORT_NULL if none can be made.
mach_port_name_t mach_reply_port(void);

#ifdef __cplusplus
}
#endif
