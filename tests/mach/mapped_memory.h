// mapped_memory(): what memory the process has mapped, to see what a test leaves.
#pragma once

#include <mach/mach.h>
#include <mach/vm_map.h>

#include <cstdint>

namespace kedge::mach {

struct mapped {
  std::uint64_t regions = 0;  // in units of the kernel's choice
  std::uint64_t bytes = 0;
};

inline mapped mapped_memory() {
  mapped all;
  vm_address_t at = 0;
  for (;;) {
    vm_size_t size = 0;
    vm_region_basic_info_data_64_t info{};
    mach_msg_type_number_t words = VM_REGION_BASIC_INFO_COUNT_64;
    mach_port_t object = MACH_PORT_NULL;
    if (vm_region_64(mach_task_self(), &at, &size, VM_REGION_BASIC_INFO_64,
                     reinterpret_cast<vm_region_info_t>(&info), &words, &object) != KERN_SUCCESS) {
      return all;
    }
    ++all.regions;
    all.bytes += size;
    at += size;
  }
}

}  // namespace kedge::mach
