// Implements thread_reply_port.
#include "kedge/mach/thread_reply_port.h"

#include <utility>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/space_incarnation.h"
#include "kedge/runtime/base/process_state.h"

namespace kedge::mach::thread_reply_port {
namespace {

struct idle_port {
  receive_right port;
  kernel::task within;  // the space of the port

  idle_port() = default;
  idle_port(const idle_port&) = delete;
  idle_port& operator=(const idle_port&) = delete;
  ~idle_port() { destroy(); }

  void destroy() noexcept {
    const kernel::current_task_guard guard(within);
    port.destroy();
  }
};

thread_local idle_port idle;
const base::process_state idle_of_process([] { return static_cast<void*>(&idle); }, sizeof idle);

}  // namespace

receive_right take() {
  if (idle.port && idle.port.space() == space_incarnation()) return std::move(idle.port);
  return receive_right::make_pooled(pooled_port::reply, 1);
}

void give_back(receive_right&& port) noexcept {
  receive_right returned = std::move(port);
  idle.destroy();
  idle.port = std::move(returned);
  idle.within = kernel::task_of_thread();
}

}  // namespace kedge::mach::thread_reply_port
