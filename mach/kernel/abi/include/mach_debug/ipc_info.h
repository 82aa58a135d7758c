// <mach_debug/ipc_info.h>: what mach_port_space_info() and mach_port_space_basic_info() report of
// the names of a task.
#pragma once

#include <mach/boolean.h>
#include <mach/port.h>

typedef struct ipc_info_space {
  natural_t iis_genno_mask;  // the bits of a name that are its generation
  natural_t iis_table_size;  // names in use and free slots
  natural_t iis_table_next;  // the rest is not used, and 0
  natural_t iis_tree_size;
  natural_t iis_tree_small;
  natural_t iis_tree_hash;
} ipc_info_space_t;

typedef struct ipc_info_space_basic {
  natural_t iisb_genno_mask;
  natural_t iisb_table_size;
  natural_t iisb_table_next;  // not used, and 0
  natural_t iisb_table_inuse;
  natural_t iisb_reserved[2];
} ipc_info_space_basic_t;

typedef struct ipc_info_name {
  mach_port_name_t iin_name;
  integer_t iin_collision;    // not used, and 0
  mach_port_type_t iin_type;  // MACH_PORT_TYPE_NONE for a free slot
  mach_port_urefs_t iin_urefs;
  natural_t iin_object;  // the same number for the same port or set; 0 for none
  natural_t iin_next;    // of a name its request, of a free slot the next free slot
  natural_t iin_hash;    // not used, and 0
} ipc_info_name_t;
typedef ipc_info_name_t* ipc_info_name_array_t;

// Not used.
typedef struct ipc_info_tree_name {
  ipc_info_name_t iitn_name;
  mach_port_name_t iitn_lchild;
  mach_port_name_t iitn_rchild;
} ipc_info_tree_name_t;
typedef ipc_info_tree_name_t* ipc_info_tree_name_array_t;
