// names_in_space(), references(), type_of(): count the names and references of the current space,
// for checks that nothing is leaked or released twice.
#pragma once

#include <mach/mach.h>
#include <mach/vm_map.h>

#include <cstddef>

namespace kedge::mach {

// The number of names in use; ~0 if the kernel fails.
inline std::size_t names_in_space() {
  mach_port_name_array_t names = nullptr;
  mach_port_type_array_t types = nullptr;
  mach_msg_type_number_t name_count = 0, type_count = 0;
  if (mach_port_names(mach_task_self(), &names, &name_count, &types, &type_count) != KERN_SUCCESS) {
    return ~std::size_t{0};
  }
  for (void* const array : {static_cast<void*>(names), static_cast<void*>(types)}) {
    if (array == nullptr) continue;
    vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(array),
                  name_count * sizeof(mach_port_name_t));
  }
  return name_count;
}

// The user references of one kind of right; ~0 if the name is not in use.
inline mach_port_urefs_t references(mach_port_name_t name, mach_port_right_t right) {
  mach_port_urefs_t count = 0;
  return mach_port_get_refs(mach_task_self(), name, right, &count) == KERN_SUCCESS
             ? count
             : ~mach_port_urefs_t{0};
}
inline mach_port_urefs_t send_references(mach_port_name_t name) {
  return references(name, MACH_PORT_RIGHT_SEND);
}
inline mach_port_urefs_t dead_references(mach_port_name_t name) {
  return references(name, MACH_PORT_RIGHT_DEAD_NAME);
}

// The rights under the name (MACH_PORT_TYPE_*); MACH_PORT_TYPE_NONE if it is not in use.
inline mach_port_type_t type_of(mach_port_name_t name) {
  mach_port_type_t type = MACH_PORT_TYPE_NONE;
  mach_port_type(mach_task_self(), name, &type);
  return type & MACH_PORT_TYPE_ALL_RIGHTS;
}

}  // namespace kedge::mach
