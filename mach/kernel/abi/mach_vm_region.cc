// Implements mach_vm_region(), mach_vm_region_recurse() and their vm_*() twins from /proc/self/maps
// (Darwin: vm_map_region, vm_map_region_recurse_64).
#include <mach/mach.h>
#include <mach/mach_vm.h>
#include <mach/vm_map.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "kedge/mach/kernel/abi/check_memory.h"
#include "kedge/mach/kernel/abi/inheritance.h"
#include "kedge/mach/kernel/abi/memory_map.h"

namespace kernel = kedge::mach::kernel;
namespace address_space = kedge::mach::kernel::address_space;

namespace {

// Finds the first mapping that ends behind the address. KERN_INVALID_ADDRESS: there is none.
kern_return_t find_region(mach_vm_address_t address, kernel::mapping& found) {
  try {
    const std::vector<kernel::mapping> regions = kernel::mappings(address, address, true);
    if (regions.empty()) return KERN_INVALID_ADDRESS;
    found = regions.front();
    return KERN_SUCCESS;
  } catch (const std::bad_alloc&) {
    return KERN_RESOURCE_SHORTAGE;
  }
}

// Fills in what kinds of info have in common under the same names.
template <typename Info>
void describe(const kernel::mapping& region, const address_space::sharing& sharing, Info& info) {
  info.protection = region.protection;
  info.max_protection = VM_PROT_ALL;
  info.inheritance = sharing.inheritance;
  info.offset = region.offset;
  info.behavior = VM_BEHAVIOR_DEFAULT;
}

template <typename Info>
void describe_sharing(const address_space::sharing& sharing, Info& info) {
  info.ref_count = 1;
  info.share_mode = sharing.is_shared ? SM_SHARED : SM_PRIVATE;
}

template <typename Info>
void describe_submap(const kernel::mapping& region, Info& info) {
  const address_space::sharing sharing = address_space::sharing_of(region);
  describe(region, sharing, info);
  describe_sharing(sharing, info);
  info.external_pager = region.file != 0;
}

// Copies the first `count` words of `from`, which has at least as many, and sets *room to `count`.
template <typename Info>
void give(const Info& from, mach_msg_type_number_t count, int* info, mach_msg_type_number_t* room) {
  std::memcpy(info, &from, count * sizeof(natural_t));
  *room = count;
}

// Describes the region by one flavor. KERN_INVALID_ARGUMENT: unknown, or no room for it.
kern_return_t give_flavor(const kernel::mapping& region, vm_region_flavor_t flavor,
                          vm_region_info_t info, mach_msg_type_number_t* room) {
  switch (flavor) {
    case VM_REGION_BASIC_INFO:
    case VM_REGION_BASIC_INFO_64: {
      if (*room < VM_REGION_BASIC_INFO_COUNT_64) return KERN_INVALID_ARGUMENT;
      vm_region_basic_info_data_64_t basic{};
      const address_space::sharing sharing = address_space::sharing_of(region);
      describe(region, sharing, basic);
      basic.shared = sharing.is_shared;
      give(basic, VM_REGION_BASIC_INFO_COUNT_64, info, room);
      return KERN_SUCCESS;
    }
    case VM_REGION_EXTENDED_INFO: {
      if (*room < VM_REGION_EXTENDED_INFO_COUNT) return KERN_INVALID_ARGUMENT;
      vm_region_extended_info_data_t extended{};
      extended.protection = region.protection;
      extended.external_pager = region.file != 0;
      describe_sharing(address_space::sharing_of(region), extended);
      give(extended, VM_REGION_EXTENDED_INFO_COUNT, info, room);
      return KERN_SUCCESS;
    }
    case VM_REGION_TOP_INFO: {
      if (*room < VM_REGION_TOP_INFO_COUNT) return KERN_INVALID_ARGUMENT;
      vm_region_top_info_data_t top{};
      describe_sharing(address_space::sharing_of(region), top);
      give(top, VM_REGION_TOP_INFO_COUNT, info, room);
      return KERN_SUCCESS;
    }
    default:
      return KERN_INVALID_ARGUMENT;
  }
}

}  // namespace

extern "C" {

kern_return_t mach_vm_region(vm_map_read_t target_task, mach_vm_address_t* address,
                             mach_vm_size_t* size, vm_region_flavor_t flavor, vm_region_info_t info,
                             mach_msg_type_number_t* infoCnt, mach_port_t* object_name) {
  const kern_return_t bad = kernel::check_memory_task(target_task);
  if (bad != KERN_SUCCESS) return bad;
  kernel::mapping region;
  const kern_return_t found = find_region(*address, region);
  if (found != KERN_SUCCESS && found != KERN_INVALID_ADDRESS) return found;
  // The flavor is checked before the address.
  const kern_return_t result = give_flavor(region, flavor, info, infoCnt);
  if (result != KERN_SUCCESS) return result;
  if (found != KERN_SUCCESS) return found;
  *address = region.start;
  *size = region.end - region.start;
  *object_name = MACH_PORT_NULL;
  return KERN_SUCCESS;
}

kern_return_t mach_vm_region_recurse(vm_map_read_t target_task, mach_vm_address_t* address,
                                     mach_vm_size_t* size, natural_t* nesting_depth,
                                     vm_region_recurse_info_t info,
                                     mach_msg_type_number_t* infoCnt) {
  const kern_return_t bad = kernel::check_memory_task(target_task);
  if (bad != KERN_SUCCESS) return bad;
  if (*infoCnt < VM_REGION_SUBMAP_SHORT_INFO_COUNT_64) return KERN_INVALID_ARGUMENT;
  kernel::mapping region;
  const kern_return_t result = find_region(*address, region);
  if (result != KERN_SUCCESS) return result;
  if (*infoCnt < VM_REGION_SUBMAP_INFO_V0_COUNT_64) {
    vm_region_submap_short_info_data_64_t short_info{};
    describe_submap(region, short_info);
    give(short_info, VM_REGION_SUBMAP_SHORT_INFO_COUNT_64, info, infoCnt);
  } else {
    vm_region_submap_info_data_64_t full_info{};
    describe_submap(region, full_info);
    // A caller with an older header has room for the first fields only.
    mach_msg_type_number_t count = VM_REGION_SUBMAP_INFO_V0_COUNT_64;
    if (*infoCnt >= VM_REGION_SUBMAP_INFO_V1_COUNT_64) count = VM_REGION_SUBMAP_INFO_V1_COUNT_64;
    if (*infoCnt >= VM_REGION_SUBMAP_INFO_V2_COUNT_64) count = VM_REGION_SUBMAP_INFO_V2_COUNT_64;
    give(full_info, count, info, infoCnt);
  }
  *address = region.start;
  *size = region.end - region.start;
  *nesting_depth = 0;
  return KERN_SUCCESS;
}

kern_return_t vm_region_64(vm_map_read_t target_task, vm_address_t* address, vm_size_t* size,
                           vm_region_flavor_t flavor, vm_region_info_t info,
                           mach_msg_type_number_t* infoCnt, mach_port_t* object_name) {
  mach_vm_address_t at = *address;
  mach_vm_size_t length = 0;
  const kern_return_t result =
      mach_vm_region(target_task, &at, &length, flavor, info, infoCnt, object_name);
  if (result != KERN_SUCCESS) return result;
  *address = at;
  *size = length;
  return KERN_SUCCESS;
}

kern_return_t vm_region_recurse_64(vm_map_read_t target_task, vm_address_t* address,
                                   vm_size_t* size, natural_t* nesting_depth,
                                   vm_region_recurse_info_t info, mach_msg_type_number_t* infoCnt) {
  mach_vm_address_t at = *address;
  mach_vm_size_t length = 0;
  const kern_return_t result =
      mach_vm_region_recurse(target_task, &at, &length, nesting_depth, info, infoCnt);
  if (result != KERN_SUCCESS) return result;
  *address = at;
  *size = length;
  return KERN_SUCCESS;
}

}  // extern "C"
