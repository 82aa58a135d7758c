// name_server: services by name, as launchd keeps them on a Mac. A task reaches it through its
// bootstrap port. A name belongs to the task that made it, and ends with that task or with its
// port.
//
// Errors: BOOTSTRAP_* of <servers/bootstrap.h>, or KERN_NO_SPACE.
// Locks: its lock is taken before the lock of any space.
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

  // Longer names are cut off here.
  static constexpr std::size_t max_length = 127;

  // Moves the receive right of a service to the caller: of a service that the caller has created,
  // or of a new one. BOOTSTRAP_SERVICE_ACTIVE; BOOTSTRAP_NOT_PRIVILEGED: another task's service.
  kern_return_t check_in(ipc_task& caller, std::string_view name, mach_port_name_t& receive,
                         deferred_work& cleanup);
  // Makes a send right to the service. BOOTSTRAP_UNKNOWN_SERVICE.
  kern_return_t look_up(ipc_task& caller, std::string_view name, mach_port_name_t& send,
                        deferred_work& cleanup);
  // Makes a service that has no server yet, and a send right to it. Messages wait in its port.
  kern_return_t create(ipc_task& caller, std::string_view name, mach_port_name_t& send,
                       deferred_work& cleanup);
  // Names a port by a send right, which is consumed. A null right removes a service that has no
  // server.
  kern_return_t enter(ipc_task& caller, std::string_view name, carried_right send,
                      deferred_work& cleanup);
  kern_return_t status(std::string_view name, int& state, deferred_work& cleanup);

  // Copies the name of the service at this port, with its end, to `name`, which has room for
  // max_length and one characters. Returns false if the port is not a service.
  bool find_name(const port& target, char* name) noexcept;

  void task_ended(std::uint64_t id, deferred_work& cleanup) noexcept;
  void end(deferred_work& cleanup) noexcept;

 private:
  struct service {
    ref<port> target;  // with one send right
    std::uint64_t owner = 0;
    bool waiting = false;  // for its server: the name server holds the receive right
  };
  using services = std::map<std::string, service, std::less<>>;

  // All require the lock. Releasing a send right can only send notifications, and destroying a
  // waiting port can only send them and destroy messages: neither calls back here.
  service* find(std::string_view name, deferred_work& cleanup) noexcept;
  service& make(ipc_task& owner, std::string_view name);
  void remove(services::iterator gone, deferred_work& cleanup) noexcept;
  void sweep(deferred_work& cleanup) noexcept;
  kern_return_t hand_out(ipc_task& caller, service& from, mach_port_name_t& send) noexcept;

  base::mutex lock_;
  services services_;
  std::size_t swept_ = 16;  // the size at which dead services are removed again
};

}  // namespace kedge::mach::kernel
