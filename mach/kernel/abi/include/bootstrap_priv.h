// <bootstrap_priv.h>: what launchd's library adds to <servers/bootstrap.h>.
#pragma once

#include <stdint.h>

#include <servers/bootstrap.h>

// Flags of a service, which this kernel ignores.
#define BOOTSTRAP_PER_PID_SERVICE 0x1
#define BOOTSTRAP_ALLOW_LOOKUP 0x2
#define BOOTSTRAP_DENY_JOB_CREATION 0x4
#define BOOTSTRAP_PRIVILEGED_SERVER 0x8

#ifdef __cplusplus
extern "C" {
#endif

// The same as bootstrap_register.
kern_return_t bootstrap_register2(mach_port_t bp, char* service_name, mach_port_t sp,
                                  uint64_t flags);

#ifdef __cplusplus
}
#endif
