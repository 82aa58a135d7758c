// <mach/thread_status.h>: the flavors of a thread's registers. This kernel reads and writes none.
#pragma once

#include <mach/vm_types.h>

#define THREAD_STATE_MAX 1296  // words of the largest state

#if defined(__x86_64__)
#define x86_THREAD_STATE32 1
#define x86_FLOAT_STATE32 2
#define x86_EXCEPTION_STATE32 3
#define x86_THREAD_STATE64 4
#define x86_FLOAT_STATE64 5
#define x86_EXCEPTION_STATE64 6
#define x86_THREAD_STATE 7
#define x86_FLOAT_STATE 8
#define x86_EXCEPTION_STATE 9
#define x86_DEBUG_STATE32 10
#define x86_DEBUG_STATE64 11
#define x86_DEBUG_STATE 12
#define THREAD_STATE_NONE 13
#define MACHINE_THREAD_STATE x86_THREAD_STATE
#else
#define ARM_THREAD_STATE 1
#define ARM_VFP_STATE 2
#define ARM_EXCEPTION_STATE 3
#define THREAD_STATE_NONE 5
#define ARM_THREAD_STATE64 6
#define ARM_EXCEPTION_STATE64 7
#define ARM_THREAD_STATE32 9
#define ARM_DEBUG_STATE32 14
#define ARM_DEBUG_STATE64 15
#define ARM_NEON_STATE 16
#define ARM_NEON_STATE64 17
#define ARM_UNIFIED_THREAD_STATE ARM_THREAD_STATE
#define MACHINE_THREAD_STATE ARM_THREAD_STATE
#endif
#define THREAD_MACHINE_STATE_MAX THREAD_STATE_MAX

typedef natural_t* thread_state_t;
typedef natural_t thread_state_data_t[THREAD_STATE_MAX];
typedef int thread_state_flavor_t;
typedef thread_state_flavor_t* thread_state_flavor_array_t;
