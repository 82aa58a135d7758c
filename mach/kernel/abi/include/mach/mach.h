// Mach IPC. <mach/notify.h> and <mach/mach_time.h> are included by themselves, as on Darwin.
#pragma once

#include <mach/mach_types.h>

#include <mach/mach_error.h>
#include <mach/mach_init.h>
#include <mach/mach_interface.h>
#include <mach/mach_port.h>
#include <mach/mig_errors.h>

#ifdef __cplusplus
extern "C" {
#endif

mach_msg_return_t mach_msg_send(mach_msg_header_t* header);
mach_msg_return_t mach_msg_receive(mach_msg_header_t* header);

// Releases the rights that a received message carries, and its reply right; not msgh_local_port.
void mach_msg_destroy(mach_msg_header_t* header);

#ifdef __cplusplus
}
#endif
