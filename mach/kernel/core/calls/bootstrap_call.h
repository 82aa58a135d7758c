// bootstrap_call: the bootstrap_* calls on the name server.
#pragma once

#include <array>
#include <string_view>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/guard_violation.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/name_server.h"
#include "kedge/mach/kernel/core/request.h"

namespace kedge::mach::kernel {

inline bool is_bootstrap_call(call_number number) noexcept {
  return number >= call_number::bootstrap_check_in && number <= call_number::bootstrap_status;
}

class bootstrap_call {
 public:
  bootstrap_call(ipc_task& caller, guard_violation& guard, copyio& memory,
                 deferred_work& cleanup) noexcept;

  // The request's target is the bootstrap port. For any other the result is what a client of
  // launchd's gets that sends its request there: MACH_SEND_INVALID_DEST, or MIG_BAD_ID from another
  // server. KERN_INVALID_ARGUMENT if it is not a bootstrap call.
  kern_return_t run(const any_request& request, any_reply& reply);

 private:
  kern_return_t check_in(const requests::bootstrap_check_in& request,
                         replies::bootstrap_check_in& reply);
  kern_return_t look_up(const requests::bootstrap_look_up& request,
                        replies::bootstrap_look_up& reply);
  kern_return_t create_service(const requests::bootstrap_create_service& request,
                               replies::bootstrap_create_service& reply);
  kern_return_t register_port(const requests::bootstrap_register& request);
  kern_return_t get_status(const requests::bootstrap_status& request,
                           replies::bootstrap_status& reply);

  kern_return_t check_bootstrap_port(mach_port_name_t name);
  // Reads the service's name, cut to the name server's longest. KERN_INVALID_ADDRESS.
  kern_return_t read_name(const user_buffer& service, std::string_view& name) noexcept;

  ipc_task& caller_;
  guard_violation& guard_;
  copyio& memory_;
  deferred_work& cleanup_;
  name_server& services_;
  std::array<char, name_server::max_length> text_;
};

}  // namespace kedge::mach::kernel
