// What can be asked about a receive right, and set (Darwin: mach_port_get_attributes,
// mach_port_set_attributes).
#include <algorithm>
#include <mutex>

#include "kedge/mach/kernel/core/calls/port_call.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {
namespace {

// The most that MACH_PORT_DNREQUESTS_SIZE grows a table to (Darwin: the end of its table of sizes).
constexpr std::uint32_t max_request_slots = 4096;

bool is_service_throttled(mach_port_flavor_t flavor, profile answers) noexcept {
  return answers.knows_service_throttling() && flavor == MACH_PORT_SERVICE_THROTTLED;
}

// Requires the port lock.
mach_port_status_t status_of(const port& of) noexcept {
  mach_port_status_t status{};
  status.mps_pset = !of.sets.empty();
  status.mps_seqno = of.sequence;
  status.mps_mscount = of.make_send_count;
  status.mps_qlimit = of.queue_limit;
  status.mps_msgcount = of.queue().count();
  status.mps_sorights = of.send_once_rights;
  status.mps_srights = of.send_rights > 0;
  status.mps_pdrequest = of.port_destroyed != nullptr;
  status.mps_nsrequest = of.no_senders != nullptr;
  if (of.temporary_owner) status.mps_flags |= MACH_PORT_STATUS_FLAG_TEMPOWNER;
  if (of.importance_donation) status.mps_flags |= MACH_PORT_STATUS_FLAG_IMP_DONATION;
  if (of.guarded) {
    status.mps_flags |= MACH_PORT_STATUS_FLAG_GUARDED;
    if (of.strict_guard) status.mps_flags |= MACH_PORT_STATUS_FLAG_STRICT_GUARD;
    if (of.immovable) status.mps_flags |= MACH_PORT_STATUS_FLAG_GUARD_IMMOVABLE_RECEIVE;
  }
  return status;
}

// 0: the flavor is not known.
std::uint32_t words_of(mach_port_flavor_t flavor) noexcept {
  switch (flavor) {
    case MACH_PORT_LIMITS_INFO:
      return MACH_PORT_LIMITS_INFO_COUNT;
    case MACH_PORT_RECEIVE_STATUS:
      return MACH_PORT_RECEIVE_STATUS_COUNT;
    case MACH_PORT_DNREQUESTS_SIZE:
      return MACH_PORT_DNREQUESTS_SIZE_COUNT;
    case MACH_PORT_INFO_EXT:
      return MACH_PORT_INFO_EXT_COUNT;
    default:
      return 0;
  }
}

// Writes what a flavor other than MACH_PORT_SERVICE_THROTTLED answers. The flavors of one word have
// it in the place of the first. Requires the port lock.
void write_info(const port& of, mach_port_flavor_t flavor, mach_port_info_ext_t& info) noexcept {
  if (flavor == MACH_PORT_LIMITS_INFO) {
    info.mpie_status.mps_pset = of.queue_limit;
  } else if (flavor == MACH_PORT_DNREQUESTS_SIZE) {
    info.mpie_status.mps_pset = of.requests.size();
  } else {
    info.mpie_status = status_of(of);
  }
}

// What mach_port_set_attributes is to set, read from the caller's memory.
struct new_attributes {
  mach_port_limits_t limits{};
  std::uint32_t word = 0;
};

kern_return_t read_attributes(const requests::set_attributes& request, bool throttles,
                              copyio& memory, new_attributes& read) noexcept {
  const user_buffer& info = request.info;
  switch (request.flavor) {
    case MACH_PORT_LIMITS_INFO:
      if (info.size < MACH_PORT_LIMITS_INFO_COUNT) return KERN_FAILURE;
      if (!memory.in(info.at, &read.limits, sizeof read.limits)) return KERN_INVALID_ADDRESS;
      return read.limits.mpl_qlimit > MACH_PORT_QLIMIT_MAX ? KERN_INVALID_VALUE : KERN_SUCCESS;
    case MACH_PORT_DNREQUESTS_SIZE:
      if (info.size < MACH_PORT_DNREQUESTS_SIZE_COUNT) return KERN_FAILURE;
      return memory.in(info.at, &read.word, sizeof read.word) ? KERN_SUCCESS : KERN_INVALID_ADDRESS;
    case MACH_PORT_TEMPOWNER:
    case MACH_PORT_IMPORTANCE_RECEIVER:
    case MACH_PORT_DENAP_RECEIVER:
      return KERN_SUCCESS;
    default:
      if (!throttles) return KERN_INVALID_ARGUMENT;
      return info.size == 0 || memory.in(info.at, &read.word, sizeof read.word)
                 ? KERN_SUCCESS
                 : KERN_INVALID_ADDRESS;
  }
}

}  // namespace

kern_return_t port_call::get_attributes(const requests::get_attributes& request,
                                        replies::get_attributes& reply) {
  const mach_port_flavor_t flavor = request.flavor;
  const bool throttled = is_service_throttled(flavor, cleanup_.owner.os_profile());
  const std::uint32_t words = throttled ? 1 : words_of(flavor);
  if (words == 0) return KERN_INVALID_ARGUMENT;
  if (request.info.size < words && !throttled) return KERN_FAILURE;
  if (is_null_or_dead(request.name) &&
      (flavor == MACH_PORT_LIMITS_INFO || flavor == MACH_PORT_DNREQUESTS_SIZE)) {
    reply.count = 0;
    return KERN_SUCCESS;
  }
  mach_port_info_ext_t info{};
  {
    const std::lock_guard hold(space_.lock);
    port* of = nullptr;
    const kern_return_t failed = find_receive_right(request.name, of);
    if (failed != KERN_SUCCESS) return failed;
    const std::lock_guard hold_port(of->lock);
    if (throttled && !of->service) return KERN_INVALID_CAPABILITY;
    if (throttled) {
      info.mpie_status.mps_pset = of->throttled;
    } else {
      write_info(*of, flavor, info);
    }
  }
  reply.count = words;
  if (request.info.size < words) return KERN_FAILURE;
  return memory_.out(&info, request.info.at, words * sizeof(natural_t)) ? KERN_SUCCESS
                                                                        : KERN_INVALID_ADDRESS;
}

kern_return_t port_call::set_attributes(const requests::set_attributes& request) {
  const profile answers = cleanup_.owner.os_profile();
  const bool throttles = is_service_throttled(request.flavor, answers);
  new_attributes wanted;
  kern_return_t failed = read_attributes(request, throttles, memory_, wanted);
  if (failed != KERN_SUCCESS) return failed;
  const std::lock_guard hold(space_.lock);
  port* of = nullptr;
  failed = find_receive_right(request.name, of);
  if (failed != KERN_SUCCESS) return failed;
  const std::lock_guard hold_port(of->lock);
  if (request.flavor == MACH_PORT_LIMITS_INFO) {
    of->queue_limit = wanted.limits.mpl_qlimit;
    admit_senders(*of, cleanup_);
  } else if (request.flavor == MACH_PORT_DNREQUESTS_SIZE) {
    if (answers.grows_request_tables()) {
      of->requests.grow(std::min(wanted.word, max_request_slots));
    }
  } else if (throttles) {
    if (!of->service) return KERN_INVALID_CAPABILITY;
    of->throttled = wanted.word != 0;
  } else {
    if (of->serves != kernel_object::none) return KERN_INVALID_ARGUMENT;
    if (request.flavor == MACH_PORT_TEMPOWNER) of->temporary_owner = true;
    of->importance_donation = true;
  }
  return KERN_SUCCESS;
}

kern_return_t port_call::assert_attributes(const requests::assert_attributes& request) {
  if (request.flavor != MACH_PORT_GUARD_INFO) return KERN_INVALID_ARGUMENT;
  if (request.info.size < MACH_PORT_GUARD_INFO_COUNT) return KERN_FAILURE;
  mach_port_guard_info_t wanted{};
  if (!memory_.in(request.info.at, &wanted, sizeof wanted)) return KERN_INVALID_ADDRESS;
  const std::lock_guard hold(space_.lock);
  port* of = nullptr;
  const kern_return_t failed = find_receive_right(request.name, of);
  if (failed != KERN_SUCCESS) return failed;
  const std::lock_guard hold_port(of->lock);
  if (!of->guarded) return violate(kGUARD_EXC_UNGUARDED, request.name, 0);
  if (!of->strict_guard || of->context != wanted.mpgi_guard) {
    return violate(kGUARD_EXC_INCORRECT_GUARD, request.name, of->context);
  }
  return KERN_SUCCESS;
}

}  // namespace kedge::mach::kernel
