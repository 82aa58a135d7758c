// Mach IPC. <mach/notify.h> and <mach/mach_time.h> are included by themselves, as on Darwin.
#pragma once

#include <mach/mach_types.h>

#include <mach/mach_error.h>
#include <mach/mach_init.h>
#include <mach/mach_interface.h>
#include <mach/mach_port.h>
#include <mach/mig.h>
#include <mach/mig_errors.h>

#ifdef __cplusplus
extern "C" {
#endif

mach_msg_return_t mach_msg_send(mach_msg_header_t* header);
mach_msg_return_t mach_msg_receive(mach_msg_header_t* header);

// Releases the rights that a received message carries, and its reply right; not msgh_local_port.
void mach_msg_destroy(mach_msg_header_t* header);

// Receives a request of up to max_size bytes from a port or set (of any size with MACH_RCV_LARGE),
// has `demux` make the reply, and sends that: none if its RetCode is MIG_NO_REPLY; with another
// error the request is destroyed. A reply that cannot be delivered is destroyed. The errors of the
// receive, and of a send that lost the reply.
mach_msg_return_t mach_msg_server_once(boolean_t (*demux)(mach_msg_header_t* request,
                                                          mach_msg_header_t* reply),
                                       mach_msg_size_t max_size, mach_port_t rcv_name,
                                       mach_msg_options_t options);
// The same until there is such an error.
mach_msg_return_t mach_msg_server(boolean_t (*demux)(mach_msg_header_t* request,
                                                     mach_msg_header_t* reply),
                                  mach_msg_size_t max_size, mach_port_t rcv_name,
                                  mach_msg_options_t options);
mach_msg_return_t mach_msg_server_importance(boolean_t (*demux)(mach_msg_header_t* request,
                                                                mach_msg_header_t* reply),
                                             mach_msg_size_t max_size, mach_port_t rcv_name,
                                             mach_msg_options_t options);

// Begins the reply to a request: an error reply without its result.
void mig_reply_setup(mach_msg_header_t* request, mach_msg_header_t* reply);

#ifdef __cplusplus
}
#endif
