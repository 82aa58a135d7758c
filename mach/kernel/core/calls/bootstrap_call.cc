#include "kedge/mach/kernel/core/calls/bootstrap_call.h"

#include <mach/mig_errors.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <string_view>

#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/name_server.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {
namespace {

kern_return_t check_bootstrap_port(ipc_task& caller, mach_port_name_t name) {
  const std::lock_guard hold(caller.names.lock);
  entry* found = MACH_PORT_VALID(name) ? caller.names.find(name) : nullptr;
  if (!found || convert_if_dead(caller.names, name, *found) ||
      (found->type & MACH_PORT_TYPE_SEND) == 0) {
    return MACH_SEND_INVALID_DEST;
  }
  const port& at = static_cast<const port&>(*found->target);
  return at.serves == kernel_object::bootstrap ? KERN_SUCCESS : MIG_BAD_ID;
}

}  // namespace

kern_return_t do_bootstrap_call(ipc_task& caller, const request& what, reply& answer,
                                copyio& memory, deferred_work& after) {
  if (const kern_return_t failed = check_bootstrap_port(caller, what.target);
      failed != KERN_SUCCESS) {
    return failed;
  }
  std::array<char, name_server::max_length> text;
  const std::size_t length = std::min<std::uint64_t>(what.words[1], text.size());
  if (!memory.in(what.words[0], text.data(), length)) return KERN_INVALID_ADDRESS;
  const std::string_view name(text.data(), length);
  name_server& names = after.owner.names();
  mach_port_name_t right = MACH_PORT_NULL;
  kern_return_t result = KERN_SUCCESS;
  switch (what.call) {
    case call_number::bootstrap_check_in:
      result = names.check_in(caller, name, right, after);
      break;
    case call_number::bootstrap_look_up:
      result = names.look_up(caller, name, right, after);
      break;
    case call_number::bootstrap_create_service:
      result = names.create(caller, name, right, after);
      break;
    case call_number::bootstrap_register: {
      carried_right send;
      result = take_copy(caller.names, static_cast<mach_port_name_t>(what.words[2]), send,
                         answer.guard, after);
      return result == KERN_SUCCESS ? names.enter(caller, name, send, after) : result;
    }
    default: {
      int is = 0;
      result = names.status(name, is, after);
      answer.words[0] = static_cast<std::uint64_t>(is);
      return result;
    }
  }
  answer.words[0] = right;
  return result;
}

}  // namespace kedge::mach::kernel
