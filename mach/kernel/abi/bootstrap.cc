// Implements bootstrap_*().
#include <bootstrap_priv.h>
#include <servers/bootstrap.h>

#include <mach/mach.h>

#include <cstdint>
#include <cstring>

#include "kedge/mach/kernel/abi/current_binding.h"

using kedge::mach::kernel::call;
using kedge::mach::kernel::user_buffer;
namespace replies = kedge::mach::kernel::replies;
namespace requests = kedge::mach::kernel::requests;

namespace {

user_buffer text(const char* name) {
  return kedge::mach::kernel::user_buffer_of(name, std::strlen(name));
}

// Stores the right of the reply, or MACH_PORT_NULL if the call has failed.
template <typename Request>
kern_return_t store_right(const kedge::mach::kernel::answer_to<Request>& answer,
                          mach_port_name_t Request::reply::* field, mach_port_t* right) {
  *right = MACH_PORT_NULL;
  return store(answer, field, right);
}

kern_return_t refuse(mach_port_t* right) {
  *right = MACH_PORT_NULL;
  return BOOTSTRAP_NOT_PRIVILEGED;
}

}  // namespace

extern "C" {

kern_return_t bootstrap_check_in(mach_port_t bp, const name_t service_name, mach_port_t* sp) {
  return store_right(call(requests::bootstrap_check_in{text(service_name)}, bp),
                     &replies::bootstrap_check_in::receive, sp);
}

kern_return_t bootstrap_look_up(mach_port_t bp, const name_t service_name, mach_port_t* sp) {
  return store_right(call(requests::bootstrap_look_up{text(service_name)}, bp),
                     &replies::bootstrap_look_up::send, sp);
}

kern_return_t bootstrap_create_service(mach_port_t bp, name_t service_name, mach_port_t* sp) {
  return store_right(call(requests::bootstrap_create_service{text(service_name)}, bp),
                     &replies::bootstrap_create_service::send, sp);
}

kern_return_t bootstrap_register(mach_port_t bp, name_t service_name, mach_port_t sp) {
  return call(requests::bootstrap_register{.service = text(service_name), .send = sp}, bp).result;
}

kern_return_t bootstrap_register2(mach_port_t bp, name_t service_name, mach_port_t sp, uint64_t) {
  return bootstrap_register(bp, service_name, sp);
}

kern_return_t bootstrap_status(mach_port_t bp, name_t service_name,
                               bootstrap_status_t* service_active) {
  return store(call(requests::bootstrap_status{text(service_name)}, bp),
               &replies::bootstrap_status::status, service_active);
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
