// The bootstrap_* calls (Darwin: launchd's, of <servers/bootstrap.h>).
#include "kedge/mach/kernel/core/calls/bootstrap_call.h"

#include <mach/mig_errors.h>

#include <algorithm>
#include <mutex>

#include "kedge/mach/kernel/core/calls/dispatch.h"
#include "kedge/mach/kernel/core/copy_in.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {

bootstrap_call::bootstrap_call(ipc_task& caller, guard_violation& guard, copyio& memory,
                               deferred_work& cleanup) noexcept
    : caller_(caller),
      guard_(guard),
      memory_(memory),
      cleanup_(cleanup),
      services_(cleanup.owner.names()) {}

kern_return_t bootstrap_call::run(const any_request& request, any_reply& reply) {
  const kern_return_t failed = check_bootstrap_port(request.target);
  if (failed != KERN_SUCCESS) return failed;
  const dispatcher run(*this, request, reply);
  switch (request.number) {
    case call_number::bootstrap_check_in:
      return run(&bootstrap_call::check_in);
    case call_number::bootstrap_look_up:
      return run(&bootstrap_call::look_up);
    case call_number::bootstrap_create_service:
      return run(&bootstrap_call::create_service);
    case call_number::bootstrap_register:
      return run(&bootstrap_call::register_port);
    case call_number::bootstrap_status:
      return run(&bootstrap_call::get_status);
    default:
      return KERN_INVALID_ARGUMENT;
  }
}

kern_return_t bootstrap_call::check_bootstrap_port(mach_port_name_t name) {
  const std::lock_guard hold(caller_.names.lock);
  port* found = nullptr;
  if (find_send_right(caller_.names, name, found) != KERN_SUCCESS) return MACH_SEND_INVALID_DEST;
  return found->serves == kernel_object::bootstrap ? KERN_SUCCESS : MIG_BAD_ID;
}

kern_return_t bootstrap_call::read_name(const user_buffer& service,
                                        std::string_view& name) noexcept {
  const std::size_t length = std::min<std::uint64_t>(service.size, text_.size());
  name = {text_.data(), length};
  return memory_.in(service.at, text_.data(), length) ? KERN_SUCCESS : KERN_INVALID_ADDRESS;
}

kern_return_t bootstrap_call::check_in(const requests::bootstrap_check_in& request,
                                       replies::bootstrap_check_in& reply) {
  std::string_view name;
  const kern_return_t failed = read_name(request.service, name);
  return failed == KERN_SUCCESS ? services_.check_in(caller_, name, reply.receive, cleanup_)
                                : failed;
}

kern_return_t bootstrap_call::look_up(const requests::bootstrap_look_up& request,
                                      replies::bootstrap_look_up& reply) {
  std::string_view name;
  const kern_return_t failed = read_name(request.service, name);
  return failed == KERN_SUCCESS ? services_.look_up(caller_, name, reply.send, cleanup_) : failed;
}

kern_return_t bootstrap_call::create_service(const requests::bootstrap_create_service& request,
                                             replies::bootstrap_create_service& reply) {
  std::string_view name;
  const kern_return_t failed = read_name(request.service, name);
  return failed == KERN_SUCCESS ? services_.create(caller_, name, reply.send, cleanup_) : failed;
}

kern_return_t bootstrap_call::register_port(const requests::bootstrap_register& request) {
  std::string_view name;
  kern_return_t failed = read_name(request.service, name);
  if (failed != KERN_SUCCESS) return failed;
  carried_right send;
  failed = take_copy(caller_.names, request.send, send, guard_, cleanup_);
  return failed == KERN_SUCCESS ? services_.enter(caller_, name, send, cleanup_) : failed;
}

kern_return_t bootstrap_call::get_status(const requests::bootstrap_status& request,
                                         replies::bootstrap_status& reply) {
  std::string_view name;
  const kern_return_t failed = read_name(request.service, name);
  return failed == KERN_SUCCESS ? services_.status(name, reply.status, cleanup_) : failed;
}

}  // namespace kedge::mach::kernel
