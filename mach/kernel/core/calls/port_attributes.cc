#include "kedge/mach/kernel/core/calls/port_attributes.h"

#include <algorithm>
#include <mutex>

#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {
namespace {

// MACH_PORT_SERVICE_THROTTLED, by the number that the recordings' table of versions gives.
constexpr mach_port_flavor_t service_throttled = 8;

// Of MACH_PORT_DNREQUESTS_SIZE (Darwin: as many as its table of sizes goes to).
constexpr std::uint32_t max_request_slots = 4096;

bool is_service_throttled(mach_port_flavor_t flavor, profile answers) noexcept {
  return answers.knows_service_throttling() && flavor == service_throttled;
}

// The receive right under the name, or why not. The space is locked.
kern_return_t find_receive(space& in, mach_port_name_t name, port*& found) noexcept {
  if (!MACH_PORT_VALID(name)) return KERN_INVALID_RIGHT;
  const entry* at = in.find(name);
  if (!at) return KERN_INVALID_NAME;
  if ((at->type & MACH_PORT_TYPE_RECEIVE) == 0) return KERN_INVALID_RIGHT;
  found = static_cast<port*>(at->target);
  return KERN_SUCCESS;
}

// The port is locked.
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

}  // namespace

kern_return_t get_attributes(space& in, mach_port_name_t name, mach_port_flavor_t flavor,
                             user_address info, std::uint32_t room, reply& answer, copyio& memory,
                             profile answers) {
  const bool throttled = is_service_throttled(flavor, answers);
  const std::uint32_t words = throttled ? 1 : words_of(flavor);
  if (words == 0) return KERN_INVALID_ARGUMENT;
  if (room < words && !throttled) return KERN_FAILURE;
  if (!MACH_PORT_VALID(name) &&
      (flavor == MACH_PORT_LIMITS_INFO || flavor == MACH_PORT_DNREQUESTS_SIZE)) {
    answer.words[0] = 0;
    return KERN_SUCCESS;
  }
  mach_port_info_ext_t all{};
  {
    const std::lock_guard hold(in.lock);
    port* of = nullptr;
    if (const kern_return_t failed = find_receive(in, name, of); failed != KERN_SUCCESS) {
      return failed;
    }
    const std::lock_guard hold_port(of->lock);
    if (throttled) {
      if (!of->service) return KERN_INVALID_CAPABILITY;
      all.mpie_status.mps_pset = of->throttled;
    } else if (flavor == MACH_PORT_LIMITS_INFO) {
      all.mpie_status.mps_pset = of->queue_limit;  // the first word is the only one
    } else if (flavor == MACH_PORT_DNREQUESTS_SIZE) {
      all.mpie_status.mps_pset = of->requests.size();
    } else {
      all.mpie_status = status_of(*of);
    }
  }
  answer.words[0] = words;
  if (room < words) return KERN_FAILURE;
  return memory.out(&all, info, words * sizeof(natural_t)) ? KERN_SUCCESS : KERN_INVALID_ADDRESS;
}

kern_return_t set_attributes(space& in, mach_port_name_t name, mach_port_flavor_t flavor,
                             user_address info, std::uint32_t count, copyio& memory,
                             deferred_work& after) {
  mach_port_limits_t limits{};
  std::uint32_t word = 0;
  const profile answers = after.owner.profile();
  const bool throttles = is_service_throttled(flavor, answers);
  switch (flavor) {
    case MACH_PORT_LIMITS_INFO:
      if (count < MACH_PORT_LIMITS_INFO_COUNT) return KERN_FAILURE;
      if (!memory.in(info, &limits, sizeof limits)) return KERN_INVALID_ADDRESS;
      if (limits.mpl_qlimit > MACH_PORT_QLIMIT_MAX) return KERN_INVALID_VALUE;
      break;
    case MACH_PORT_DNREQUESTS_SIZE:
      if (count < MACH_PORT_DNREQUESTS_SIZE_COUNT) return KERN_FAILURE;
      if (!memory.in(info, &word, sizeof word)) return KERN_INVALID_ADDRESS;
      break;
    case MACH_PORT_TEMPOWNER:
    case MACH_PORT_IMPORTANCE_RECEIVER:
    case MACH_PORT_DENAP_RECEIVER:
      break;
    default:
      if (!throttles) return KERN_INVALID_ARGUMENT;
      if (count > 0 && !memory.in(info, &word, sizeof word)) return KERN_INVALID_ADDRESS;
      break;
  }
  const std::lock_guard hold(in.lock);
  port* of = nullptr;
  if (const kern_return_t failed = find_receive(in, name, of); failed != KERN_SUCCESS) {
    return failed;
  }
  const std::lock_guard hold_port(of->lock);
  if (flavor == MACH_PORT_LIMITS_INFO) {
    of->queue_limit = limits.mpl_qlimit;
    admit_senders(*of, after);
  } else if (flavor == MACH_PORT_DNREQUESTS_SIZE) {
    if (answers.grows_request_tables()) of->requests.grow(std::min(word, max_request_slots));
  } else if (throttles) {
    if (!of->service) return KERN_INVALID_CAPABILITY;
    of->throttled = word != 0;
  } else {
    if (flavor == MACH_PORT_TEMPOWNER) of->temporary_owner = true;
    of->importance_donation = true;
  }
  return KERN_SUCCESS;
}

}  // namespace kedge::mach::kernel
