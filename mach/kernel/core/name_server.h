// Services by name, as launchd keeps them for a Mac: the first name server that a task can reach is
// this one, through its bootstrap port. A name belongs to the task that made it, and ends with that
// task, and with its port. Answers are BOOTSTRAP_* of <servers/bootstrap.h>, or KERN_NO_SPACE.
//
// Its lock is taken before any space's.
#pragma once

#include <mach/kern_return.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/runtime/base/mutex.h"

namespace kedge::mach::kernel {

class name_server {
 public:
  name_server() = default;
  name_server(const name_server&) = delete;
  name_server& operator=(const name_server&) = delete;

  // Longer names are cut to this length.
  static constexpr std::size_t max_length = 127;

  // The receive right of the service moves to the caller: of one that the caller has made, or of a
  // new one. BOOTSTRAP_NOT_PRIVILEGED (another task's), BOOTSTRAP_SERVICE_ACTIVE.
  kern_return_t check_in(ipc_task& caller, std::string_view name, mach_port_name_t& receive,
                         deferred_work& after);
  // A send right to the service. BOOTSTRAP_UNKNOWN_SERVICE.
  kern_return_t look_up(ipc_task& caller, std::string_view name, mach_port_name_t& send,
                        deferred_work& after);
  // Makes a service without a server yet: messages wait in its port. The answer is as look_up's.
  kern_return_t create(ipc_task& caller, std::string_view name, mach_port_name_t& send,
                       deferred_work& after);
  // Names a port by a send right, which is consumed; a null one takes back a service that has no
  // server.
  kern_return_t enter(ipc_task& caller, std::string_view name, carried_right send,
                      deferred_work& after);
  kern_return_t status(std::string_view name, int& is, deferred_work& after);

  void task_ended(std::uint64_t id, deferred_work& after) noexcept;
  void end(deferred_work& after) noexcept;

 private:
  struct service {
    ref<port> at;  // with one send right
    std::uint64_t owner = 0;
    bool waiting = false;  // for its server: the receive right is here
  };
  using services = std::map<std::string, service, std::less<>>;

  service* find(std::string_view name, deferred_work& after) noexcept;
  service& make(ipc_task& owner, std::string_view name);
  void remove(services::iterator gone, deferred_work& after) noexcept;
  void sweep(deferred_work& after) noexcept;
  kern_return_t hand_out(ipc_task& caller, service& from, mach_port_name_t& send) noexcept;

  base::mutex lock_;
  services services_;
  std::size_t swept_ = 16;  // so many were left, or twice that, when dead ones were removed last
};

}  // namespace kedge::mach::kernel
