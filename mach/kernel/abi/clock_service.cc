// Implements host_get_clock_service(), clock_get_time(), clock_get_attributes() and
// host_page_size() (Darwin: clock_oldops.c).
#include <mach/clock.h>
#include <mach/mach.h>
#include <mach/mach_host.h>
#include <mach/mach_time.h>

#include <time.h>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/core/ipc_space.h"

using kedge::mach::kernel::call;
namespace replies = kedge::mach::kernel::replies;
namespace requests = kedge::mach::kernel::requests;

namespace {

constexpr int resolution = NSEC_PER_SEC / 100;  // what Darwin reports, whatever the hardware can do

}  // namespace

extern "C" {

kern_return_t host_get_clock_service(host_t host, clock_id_t clock_id, clock_serv_t* clock_serv) {
  return store(call(requests::clock_service{.host = host, .clock = clock_id}),
               &replies::clock_service::name, clock_serv);
}

kern_return_t clock_get_time(clock_serv_t clock_serv, mach_timespec_t* cur_time) {
  const auto clock = call(requests::clock_id{clock_serv});
  if (clock.result != KERN_SUCCESS) return clock.result;
  if (clock.fields.clock == CALENDAR_CLOCK) {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *cur_time = {static_cast<unsigned>(now.tv_sec), static_cast<clock_res_t>(now.tv_nsec)};
  } else {
    const uint64_t now = mach_absolute_time();
    *cur_time = {static_cast<unsigned>(now / NSEC_PER_SEC),
                 static_cast<clock_res_t>(now % NSEC_PER_SEC)};
  }
  return KERN_SUCCESS;
}

kern_return_t clock_get_attributes(clock_serv_t clock_serv, clock_flavor_t flavor,
                                   clock_attr_t clock_attr, mach_msg_type_number_t* clock_attrCnt) {
  const auto clock = call(requests::clock_id{clock_serv});
  if (clock.result != KERN_SUCCESS) return clock.result;
  if (*clock_attrCnt != 1) return KERN_FAILURE;
  switch (flavor) {
    case CLOCK_GET_TIME_RES:
      *clock_attr = resolution;
      break;
    case CLOCK_ALARM_CURRES:
    case CLOCK_ALARM_MINRES:
    case CLOCK_ALARM_MAXRES:
      *clock_attr = clock.fields.clock == SYSTEM_CLOCK ? resolution : 0;
      break;
    default:
      return KERN_INVALID_VALUE;
  }
  return KERN_SUCCESS;
}

kern_return_t host_page_size(host_t host, vm_size_t* out_page_size) {
  // A right to the host port has this name in every task.
  if (host != kedge::mach::kernel::host_self_name) {
    return kedge::mach::kernel::fault_of_destination(host);
  }
  *out_page_size = vm_page_size;
  return KERN_SUCCESS;
}

}  // extern "C"
