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

#include "kedge/mach/kernel/core/aftermath.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kmsg.h"
#include "kedge/mach/kernel/core/mutex.h"
#include "kedge/mach/kernel/core/object.h"
#include "kedge/mach/kernel/core/port.h"

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
                         aftermath& after);
  // A send right to the service. BOOTSTRAP_UNKNOWN_SERVICE.
  kern_return_t look_up(ipc_task& caller, std::string_view name, mach_port_name_t& send,
                        aftermath& after);
  // Makes a service without a server yet: messages wait in its port. The answer is as look_up's.
  kern_return_t create(ipc_task& caller, std::string_view name, mach_port_name_t& send,
                       aftermath& after);
  // Names a port by a send right, which is consumed; a null one takes back a service that has no
  // server.
  kern_return_t enter(ipc_task& caller, std::string_view name, carried_right send,
                      aftermath& after);
  kern_return_t status(std::string_view name, int& is, aftermath& after);

  void task_ended(std::uint64_t id, aftermath& after) noexcept;
  void end(aftermath& after) noexcept;

 private:
  struct service {
    ref<port> at;  // with one send right
    std::uint64_t owner = 0;
    bool waiting = false;  // for its server: the receive right is here
  };
  using services = std::map<std::string, service, std::less<>>;

  service* find(std::string_view name, aftermath& after) noexcept;
  service& make(ipc_task& owner, std::string_view name);
  void remove(services::iterator gone, aftermath& after) noexcept;
  void sweep(aftermath& after) noexcept;
  kern_return_t hand_out(ipc_task& caller, service& from, mach_port_name_t& send) noexcept;

  mutex lock_;
  services services_;
  std::size_t swept_ = 16;  // so many were left, or twice that, when dead ones were removed last
};

}  // namespace kedge::mach::kernel
