// <mach/mig.h>: types and functions that the stubs and servers written by MIG use.
#pragma once

#include <stdint.h>

#include <mach/message.h>
#include <mach/port.h>
#include <mach/vm_types.h>

#ifndef __MigTypeCheck
#ifdef TypeCheck
#define __MigTypeCheck TypeCheck
#else
#define __MigTypeCheck 1
#endif
#endif

#define __MigPackStructs 1

// A routine of a server: reads the request and writes the reply.
typedef void (*mig_stub_routine_t)(mach_msg_header_t* InHeadP, mach_msg_header_t* OutHeadP);
typedef mig_stub_routine_t mig_routine_t;
// Returns the routine for a request, or null if the server has none.
typedef mig_routine_t (*mig_server_routine_t)(mach_msg_header_t* InHeadP);
typedef kern_return_t (*mig_impl_routine_t)(void);

typedef mach_msg_type_descriptor_t routine_arg_descriptor;
typedef mach_msg_type_descriptor_t* routine_arg_descriptor_t;
typedef mach_msg_type_descriptor_t* mig_routine_arg_descriptor_t;

#define MIG_ROUTINE_ARG_DESCRIPTOR_NULL ((mig_routine_arg_descriptor_t)0)

struct routine_descriptor {
  mig_impl_routine_t impl_routine;
  mig_stub_routine_t stub_routine;
  unsigned int argc;
  unsigned int descr_count;
  routine_arg_descriptor_t arg_descr;
  unsigned int max_reply_msg;
};
typedef struct routine_descriptor* routine_descriptor_t;
typedef struct routine_descriptor mig_routine_descriptor;
typedef mig_routine_descriptor* mig_routine_descriptor_t;

#define MIG_ROUTINE_DESCRIPTOR_NULL ((mig_routine_descriptor_t)0)

typedef struct mig_subsystem {
  mig_server_routine_t server;
  mach_msg_id_t start;      // the first id of the subsystem's requests
  mach_msg_id_t end;        // one past the last id
  mach_msg_size_t maxsize;  // the size of the largest reply
  vm_address_t reserved;
  mig_routine_descriptor routine[1];
}* mig_subsystem_t;

#define MIG_SUBSYSTEM_NULL ((mig_subsystem_t)0)

typedef struct mig_symtab {
  char* ms_routine_name;
  int ms_routine_number;
  void (*ms_routine)(void);
} mig_symtab_t;

#ifdef __has_attribute
#if __has_attribute(mig_server_routine)
#define MIG_SERVER_ROUTINE __attribute__((mig_server_routine))
#endif
#endif
#ifndef MIG_SERVER_ROUTINE
#define MIG_SERVER_ROUTINE
#endif

#ifdef __cplusplus
extern "C" {
#endif

// Returns the receive right by which the thread receives replies. The thread has one for each task
// that it has been in, and they are destroyed when it ends.
mach_port_t mig_get_reply_port(void);
// Destroys the thread's right. The next call makes another, so a late reply is dropped.
void mig_dealloc_reply_port(mach_port_t reply_port);
void mig_put_reply_port(mach_port_t reply_port);

// Copies at most len - 1 bytes and a terminating zero. mig_strncpy_zerofill fills the rest with
// zeros. Returns the length of the copy, its terminating zero included.
int mig_strncpy(char* dest, const char* src, int len);
int mig_strncpy_zerofill(char* dest, const char* src, int len);

// Allocates memory for out-of-line data; sets *addr_p to 0 if it cannot.
void mig_allocate(vm_address_t* addr_p, vm_size_t size);
void mig_deallocate(vm_address_t addr, vm_size_t size);

#ifdef __cplusplus
}
#endif
