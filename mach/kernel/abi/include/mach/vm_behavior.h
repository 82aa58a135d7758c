// <mach/vm_behavior.h>: how a task intends to use its memory.
#pragma once

typedef int vm_behavior_t;

#define VM_BEHAVIOR_DEFAULT ((vm_behavior_t)0)
