// Implements bootstrap_*().
#include <servers/bootstrap.h>

#include <mach/mach.h>

#include <cstdint>
#include <cstring>

#include "kedge/mach/kernel/abi/current_binding.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::call_number;
using kedge::mach::kernel::reply;

namespace {

reply ask(call_number number, mach_port_t bp, const char* name, mach_port_t port = MACH_PORT_NULL) {
  return call(number, bp, reinterpret_cast<std::uintptr_t>(name), std::strlen(name), port);
}

kern_return_t give(const reply& answer, mach_port_t* right) {
  *right = answer.result == KERN_SUCCESS ? static_cast<mach_port_t>(answer.words[0])
                                         : mach_port_t{MACH_PORT_NULL};
  return answer.result;
}

kern_return_t refuse(mach_port_t* right) {
  *right = MACH_PORT_NULL;
  return BOOTSTRAP_NOT_PRIVILEGED;
}

}  // namespace

extern "C" {

kern_return_t bootstrap_check_in(mach_port_t bp, const name_t service_name, mach_port_t* sp) {
  return give(ask(call_number::bootstrap_check_in, bp, service_name), sp);
}

kern_return_t bootstrap_look_up(mach_port_t bp, const name_t service_name, mach_port_t* sp) {
  return give(ask(call_number::bootstrap_look_up, bp, service_name), sp);
}

kern_return_t bootstrap_create_service(mach_port_t bp, name_t service_name, mach_port_t* sp) {
  return give(ask(call_number::bootstrap_create_service, bp, service_name), sp);
}

kern_return_t bootstrap_register(mach_port_t bp, name_t service_name, mach_port_t sp) {
  return ask(call_number::bootstrap_register, bp, service_name, sp).result;
}

kern_return_t bootstrap_status(mach_port_t bp, name_t service_name,
                               bootstrap_status_t* service_active) {
  const reply answer = ask(call_number::bootstrap_status, bp, service_name);
  if (answer.result == KERN_SUCCESS) {
    *service_active = static_cast<bootstrap_status_t>(answer.words[0]);
  }
  return answer.result;
}

kern_return_t bootstrap_create_server(mach_port_t, cmd_t, uid_t, boolean_t,
                                      mach_port_t* server_port) {
  return refuse(server_port);
}

kern_return_t bootstrap_subset(mach_port_t, mach_port_t, mach_port_t* subset_port) {
  return refuse(subset_port);
}

kern_return_t bootstrap_parent(mach_port_t, mach_port_t* parent_port) {
  return refuse(parent_port);
}

kern_return_t bootstrap_unprivileged(mach_port_t bp, mach_port_t* unpriv_port) {
  const kern_return_t result = mach_port_mod_refs(mach_task_self(), bp, MACH_PORT_RIGHT_SEND, 1);
  *unpriv_port = result == KERN_SUCCESS ? bp : mach_port_t{MACH_PORT_NULL};
  return result;
}

const char* bootstrap_strerror(kern_return_t r) {
  switch (r) {
    case BOOTSTRAP_SUCCESS:
      return "Success";
    case BOOTSTRAP_NOT_PRIVILEGED:
      return "Permission denied";
    case BOOTSTRAP_NAME_IN_USE:
    case BOOTSTRAP_SERVICE_ACTIVE:
      return "Service name already exists";
    case BOOTSTRAP_UNKNOWN_SERVICE:
      return "Unknown service name";
    case BOOTSTRAP_BAD_COUNT:
      return "Too many look-ups in one request";
    case BOOTSTRAP_NO_MEMORY:
      return "Out of memory";
    case BOOTSTRAP_NO_CHILDREN:
      return "No children";
    default:
      return mach_error_string(r);
  }
}

}  // extern "C"
