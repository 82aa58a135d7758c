// <sys/fileport.h>: sends open files in messages, as send rights.
#pragma once

#include <mach/port.h>

typedef mach_port_t fileport_t;
#define FILEPORT_NULL ((fileport_t)0)

#ifdef __cplusplus
extern "C" {
#endif

// Makes a port that stands for the open file of `fd`, and gives a send right to it. EBADF. EINVAL:
// not a file, socket or pipe. EAGAIN: no descriptor or memory is left for it.
int fileport_makeport(int fd, fileport_t* port);

// Returns a new descriptor (close-on-exec) for the open file. The caller keeps the right. EINVAL:
// not a send right to a fileport. EMFILE.
int fileport_makefd(fileport_t port);

#ifdef __cplusplus
}
#endif
