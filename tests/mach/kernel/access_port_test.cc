// TASK_ACCESS_PORT, which is set once, while two threads set it. This program has slow paths of
// base::mutex of its own, so that a test can act at the moment at which a thread gives up a lock
// that others want.
#include <doctest/doctest.h>

#include <mach/task_special_ports.h>

#include <atomic>
#include <functional>
#include <thread>
#include <utility>

#include "kedge/mach/kernel/core/copyio.h"
#include "kedge/mach/kernel/core/ipc_space.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/request.h"
#include "kedge/runtime/base/mutex.h"

using namespace kedge::mach::kernel;

namespace {

// How often a thread has found a lock taken.
std::atomic<int> contentions{0};

// What the calling thread does, once, when it has given up a lock that it had to wait for.
thread_local std::function<void()> on_unlock;

void await_contentions(int count) {
  while (contentions < count) std::this_thread::yield();
}

class unused_call final : public pending_call {
 public:
  void wake() noexcept override {}
};

kern_return_t set_access_port(kernel& whole, ipc_task& of, mach_port_name_t port) {
  any_reply reply;
  unused_call unused;
  whole.begin(of, any_request(requests::set_special_port{TASK_ACCESS_PORT, port}, task_self_name),
              reply, own_memory(), unused);
  return reply.result;
}

}  // namespace

namespace kedge::base {

void mutex::lock_contended() noexcept {
  ++contentions;
  while (word_.exchange(contended, std::memory_order_acquire) != free) std::this_thread::yield();
}

void mutex::wake_one() noexcept {
  if (const auto act = std::exchange(on_unlock, nullptr)) act();
}

void condition::wait(mutex& lock) noexcept {
  const int before = generation_;
  ++sleepers_;
  lock.unlock();
  while (generation_ == before) std::this_thread::yield();
  lock.lock();
  --sleepers_;
}

void condition::wake_sleepers() noexcept {
  ++generation_;
}

}  // namespace kedge::base

TEST_CASE("a task's access port that is set while another thread sets it is refused") {
  kernel whole;
  const ref<ipc_task> task = whole.create_task({}, {}, nullptr);
  const auto stored = ref<port>::adopt(new port), access = ref<port>::adopt(new port);
  mach_port_name_t name = MACH_PORT_NULL, unused = MACH_PORT_NULL;
  REQUIRE(whole.name_receive_right(*task, stored, unused) == KERN_SUCCESS);
  REQUIRE(whole.name_send_right(*task, *access, name) == KERN_SUCCESS);
  task->special.exchange(special_ports::slot::debug_control,
                         {make_send_right(*stored), MACH_MSG_TYPE_MOVE_SEND, false});

  // A thread that copies a special port has the lock of all of them while it waits for the port's.
  std::atomic<bool> is_held{false};
  std::thread holder([&] {
    while (!is_held) std::this_thread::yield();
    carried_right copied = task->special.copy(special_ports::slot::debug_control);
    deferred_work cleanup(whole);
    release_right(copied, cleanup);
  });
  stored->lock.lock();  // while there are two threads: one thread takes no locks
  is_held = true;
  await_contentions(1);
  kern_return_t first = KERN_FAILURE, second = KERN_FAILURE;
  std::thread setter([&] {
    on_unlock = [&] { second = set_access_port(whole, *task, name); };
    first = set_access_port(whole, *task, name);
  });
  await_contentions(2);
  stored->lock.unlock();
  holder.join();
  setter.join();
  CHECK(first == KERN_SUCCESS);
  CHECK(second == KERN_NO_ACCESS);
}
