// <servers/bootstrap.h>: services by name. A name belongs to the task that made it. It ends with
// that task or with its port. The first 127 bytes of a name are significant.
#pragma once

#include <sys/types.h>

#include <mach/boolean.h>
#include <mach/kern_return.h>
#include <mach/mach_types.h>
#include <mach/port.h>

#define BOOTSTRAP_MAX_NAME_LEN 128
#define BOOTSTRAP_MAX_CMD_LEN 512
#define BOOTSTRAP_MAX_LOOKUP_COUNT 20

typedef char name_t[BOOTSTRAP_MAX_NAME_LEN];
typedef char cmd_t[BOOTSTRAP_MAX_CMD_LEN];
typedef name_t* name_array_t;
typedef int bootstrap_status_t;
typedef bootstrap_status_t* bootstrap_status_array_t;

#define BOOTSTRAP_STATUS_INACTIVE 0
#define BOOTSTRAP_STATUS_ACTIVE 1
#define BOOTSTRAP_STATUS_ON_DEMAND 2

#define BOOTSTRAP_SUCCESS 0
#define BOOTSTRAP_NOT_PRIVILEGED 1100
#define BOOTSTRAP_NAME_IN_USE 1101
#define BOOTSTRAP_UNKNOWN_SERVICE 1102
#define BOOTSTRAP_SERVICE_ACTIVE 1103
#define BOOTSTRAP_BAD_COUNT 1104
#define BOOTSTRAP_NO_MEMORY 1105
#define BOOTSTRAP_NO_CHILDREN 1106

#ifdef __cplusplus
extern "C" {
#endif

extern mach_port_t bootstrap_port;

// Apple's declarations say name_t where these say char*. The parameter has the same type, but g++
// would warn of arguments shorter than a name_t.

// Gives the receive right of a service that the caller has created, or creates the service.
// BOOTSTRAP_NOT_PRIVILEGED: another task has created it. BOOTSTRAP_SERVICE_ACTIVE: its receive
// right was given out before.
kern_return_t bootstrap_check_in(mach_port_t bp, const char* service_name, mach_port_t* sp);

// Gives a send right to the service. BOOTSTRAP_UNKNOWN_SERVICE.
kern_return_t bootstrap_look_up(mach_port_t bp, const char* service_name, mach_port_t* sp);

// Creates a service without a server and gives a send right to it. Messages are queued until its
// server checks in.
kern_return_t bootstrap_create_service(mach_port_t bp, char* service_name, mach_port_t* sp);

// Gives the name to the port of `sp`, a send right of the caller. With MACH_PORT_NULL, removes a
// service that has no server.
kern_return_t bootstrap_register(mach_port_t bp, char* service_name, mach_port_t sp);

kern_return_t bootstrap_status(mach_port_t bp, char* service_name,
                               bootstrap_status_t* service_active);

// Always BOOTSTRAP_NOT_PRIVILEGED, as for ordinary programs on a Mac.
kern_return_t bootstrap_create_server(mach_port_t bp, char* server_cmd, uid_t server_uid,
                                      boolean_t on_demand, mach_port_t* server_port);
kern_return_t bootstrap_subset(mach_port_t bp, mach_port_t requestor_port,
                               mach_port_t* subset_port);
kern_return_t bootstrap_parent(mach_port_t bp, mach_port_t* parent_port);

// Gives the same port with one more user reference: this kernel has no less privileged one.
kern_return_t bootstrap_unprivileged(mach_port_t bp, mach_port_t* unpriv_port);

const char* bootstrap_strerror(kern_return_t r);

#ifdef __cplusplus
}
#endif
