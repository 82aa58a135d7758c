// <mach/task_info.h>: what task_info reports about a task, and its policy for guard exceptions.
#pragma once

#include <stdint.h>

#include <mach/message.h>
#include <mach/vm_types.h>

typedef natural_t task_flavor_t;
typedef integer_t* task_info_t;

#define TASK_INFO_MAX (1024)
typedef integer_t task_info_data_t[TASK_INFO_MAX];

// A security_token_t, an audit_token_t: as in the trailers of the task's messages.
#define TASK_SECURITY_TOKEN 13
#define TASK_SECURITY_TOKEN_COUNT \
  ((mach_msg_type_number_t)(sizeof(security_token_t) / sizeof(natural_t)))
#define TASK_AUDIT_TOKEN 15
#define TASK_AUDIT_TOKEN_COUNT (sizeof(audit_token_t) / sizeof(natural_t))

typedef uint32_t task_exc_guard_behavior_t;
#define TASK_EXC_GUARD_NONE 0x00
// Guard exceptions of virtual memory: this kernel raises none.
#define TASK_EXC_GUARD_VM_DELIVER 0x01
#define TASK_EXC_GUARD_VM_ONCE 0x02
#define TASK_EXC_GUARD_VM_CORPSE 0x04
#define TASK_EXC_GUARD_VM_FATAL 0x08
#define TASK_EXC_GUARD_VM_ALL 0x0f
// Guard exceptions of ports that are not fatal to every task. They are delivered, which is fatal
// here, if both MP_DELIVER and MP_FATAL are set.
#define TASK_EXC_GUARD_MP_DELIVER 0x10
#define TASK_EXC_GUARD_MP_ONCE 0x20
#define TASK_EXC_GUARD_MP_CORPSE 0x40
#define TASK_EXC_GUARD_MP_FATAL 0x80
#define TASK_EXC_GUARD_MP_ALL 0xf0
#define TASK_EXC_GUARD_ALL 0xff
