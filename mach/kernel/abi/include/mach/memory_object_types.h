// Memory that ports stand for.
#pragma once

#include <mach/port.h>
#include <mach/vm_prot.h>
#include <mach/vm_types.h>

typedef unsigned long long memory_object_offset_t;
typedef unsigned long long memory_object_size_t;

typedef mach_port_t memory_object_t;
#define MEMORY_OBJECT_NULL ((memory_object_t)0)

// Besides the protection in mach_make_memory_entry_64: new memory, which is mapped nowhere yet.
#define MAP_MEM_NAMED_CREATE 0x020000
