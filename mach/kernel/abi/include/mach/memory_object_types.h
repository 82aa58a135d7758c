// <mach/memory_object_types.h>: types of memory entries.
#pragma once

#include <mach/port.h>
#include <mach/vm_prot.h>
#include <mach/vm_types.h>

typedef unsigned long long memory_object_offset_t;
typedef unsigned long long memory_object_size_t;

typedef mach_port_t memory_object_t;
#define MEMORY_OBJECT_NULL ((memory_object_t)0)

// A flag beside the protection in mach_make_memory_entry_64: the entry stands for new pages, which
// are mapped nowhere yet.
#define MAP_MEM_NAMED_CREATE 0x020000
