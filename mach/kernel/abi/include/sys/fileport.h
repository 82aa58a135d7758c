// Open files as send rights, which messages can carry.
#pragma once

#include <mach/port.h>

typedef mach_port_t fileport_t;
#define FILEPORT_NULL ((fileport_t)0)

#ifdef __cplusplus
extern "C" {
#endif

// A send right to a new port that stands for the open file of the descriptor. EBADF; EINVAL: not a
// file, socket or pipe; EAGAIN: nothing left to make it of.
int fileport_makeport(int fd, fileport_t* port);

// A new descriptor for the open file, closed by exec. EINVAL: not a send right to such a port;
// EMFILE. The right stays.
int fileport_makefd(fileport_t port);

#ifdef __cplusplus
}
#endif
