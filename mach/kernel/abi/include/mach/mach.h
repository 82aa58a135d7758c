// <mach/mach.h>: Mach IPC. As on Darwin, it does not include <mach/mach_time.h> and
// <mach/mach_vm.h>.
#pragma once

#include <mach/std_types.h>

#include <mach/mach_types.h>

#include <mach/mach_interface.h>

#include <mach/mach_error.h>
#include <mach/mach_host.h>
#include <mach/mach_init.h>
#include <mach/mach_port.h>
#include <mach/mig.h>
#include <mach/mig_errors.h>
#include <mach/notify.h>

#ifdef __cplusplus
extern "C" {
#endif

mach_msg_return_t mach_msg_send(mach_msg_header_t* header);
mach_msg_return_t mach_msg_receive(mach_msg_header_t* header);

// Releases the rights and memory in a received message, and its reply right, but not
// msgh_local_port.
void mach_msg_destroy(mach_msg_header_t* header);

// Receives one request from a port or set, calls `demux` to make the reply, and sends the reply.
// The request has at most max_size bytes, or any size with MACH_RCV_LARGE. If the reply's RetCode
// is MIG_NO_REPLY, no reply is sent. With another error the request is destroyed. A reply that
// cannot be delivered is destroyed. Returns the error of the receive, or of a send that lost the
// reply.
mach_msg_return_t mach_msg_server_once(boolean_t (*demux)(mach_msg_header_t* request,
                                                          mach_msg_header_t* reply),
                                       mach_msg_size_t max_size, mach_port_t rcv_name,
                                       mach_msg_options_t options);
// Serves requests in the same way until an error occurs.
mach_msg_return_t mach_msg_server(boolean_t (*demux)(mach_msg_header_t* request,
                                                     mach_msg_header_t* reply),
                                  mach_msg_size_t max_size, mach_port_t rcv_name,
                                  mach_msg_options_t options);
mach_msg_return_t mach_msg_server_importance(boolean_t (*demux)(mach_msg_header_t* request,
                                                                mach_msg_header_t* reply),
                                             mach_msg_size_t max_size, mach_port_t rcv_name,
                                             mach_msg_options_t options);

// Fills in the reply to a request as an error reply, all but its RetCode.
void mig_reply_setup(mach_msg_header_t* request, mach_msg_header_t* reply);

#ifdef __cplusplus
}
#endif
