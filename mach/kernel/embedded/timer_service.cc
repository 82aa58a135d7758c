// Implements timer_service with one thread.
#include "kedge/mach/kernel/embedded/timer_service.h"

#include <mach/mk_timer.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "kedge/mach/kernel/core/notification.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"
#include "kedge/mach/kernel/embedded/clock.h"

namespace kedge::mach::kernel {
namespace {

constexpr security_token_t kernel_security = KERNEL_SECURITY_TOKEN_VALUE;
constexpr audit_token_t kernel_audit = KERNEL_AUDIT_TOKEN_VALUE;

// Finds a receive right (Darwin: ipc_port_translate_receive).
kern_return_t find_receive_right(ipc_task& caller, mach_port_name_t name, ref<port>& found) {
  const std::lock_guard hold(caller.names.lock);
  if (!caller.names.active) return KERN_INVALID_TASK;
  entry* const held = MACH_PORT_VALID(name) ? caller.names.find(name) : nullptr;
  if (!held) return KERN_INVALID_NAME;
  if ((held->type & MACH_PORT_TYPE_RECEIVE) == 0) return KERN_INVALID_RIGHT;
  found = ref<port>(&port_of(*held));
  return KERN_SUCCESS;
}

// Returns true if a timer's message is queued, which has not been received yet: Darwin has only one
// for each timer. Requires the port lock.
bool has_expiry(port& to) noexcept {
  for (const kmsg* each = to.queue().peek(); each; each = each->next) {
    const bool is_from_kernel = std::memcmp(&each->audit, &kernel_audit, sizeof kernel_audit) == 0;
    if (is_from_kernel && each->id == 0 && each->size == sizeof(mk_timer_expire_msg_t)) return true;
  }
  return false;
}

// Makes a call of the kernel that does not wait.
any_reply call_kernel(kernel& whole, ipc_task& caller, const any_request& request, copyio& memory) {
  any_reply reply;
  futex_call unused;
  whole.begin(caller, request, reply, memory, unused);
  return reply;
}

}  // namespace

kern_return_t timer_service::create(ipc_task& caller, copyio& memory, mach_port_name_t& name) {
  any_reply made =
      call_kernel(kernel_, caller,
                  any_request(requests::allocate{MACH_PORT_RIGHT_RECEIVE}, task_self_name), memory);
  if (made.result != KERN_SUCCESS) return made.result;
  name = made.as<replies::allocate>().name;
  ref<port> at;
  const kern_return_t gone = find_receive_right(caller, name, at);
  if (gone != KERN_SUCCESS) return gone;  // another thread has destroyed it
  deferred_work cleanup(kernel_);
  const std::lock_guard hold(lock_);
  if (timers_.size() >= sweep_threshold_) sweep(cleanup);
  try {
    timers_.emplace(at.get(), unarmed);
  } catch (const std::bad_alloc&) {
    call_kernel(kernel_, caller, any_request(requests::destroy{name}, task_self_name), memory);
    throw;
  }
  const std::lock_guard hold_port(at->lock);
  at->immovable = true;
  make_send_right(*at);
  return KERN_SUCCESS;
}

kern_return_t timer_service::find(ipc_task& caller, mach_port_name_t name, ref<port>& found) {
  const kern_return_t result = find_receive_right(caller, name, found);
  if (result != KERN_SUCCESS) return result;
  const std::lock_guard hold(lock_);
  return timers_.count(found.get()) != 0 ? KERN_SUCCESS : KERN_INVALID_ARGUMENT;
}

kern_return_t timer_service::destroy(ipc_task& caller, copyio& memory, mach_port_name_t name) {
  ref<port> at;
  const kern_return_t result = find(caller, name, at);
  if (result != KERN_SUCCESS) return result;
  return call_kernel(kernel_, caller, any_request(requests::destroy{name}, task_self_name), memory)
      .result;
}

kern_return_t timer_service::arm(ipc_task& caller, mach_port_name_t name, std::uint64_t deadline) {
  ref<port> at;
  const kern_return_t result = find(caller, name, at);
  if (result != KERN_SUCCESS) return result;
  {
    const std::lock_guard hold(lock_);
    if (!has_thread_ && !start_thread()) return KERN_RESOURCE_SHORTAGE;
    const std::uint64_t due = std::max(deadline, unarmed + 1);
    armed_.emplace(due, at.get());
    const std::uint64_t before = std::exchange(timers_.at(at.get()), due);
    if (before != unarmed && before != due) armed_.erase({before, at.get()});
  }
  waiting_.wake();
  return KERN_SUCCESS;
}

kern_return_t timer_service::cancel(ipc_task& caller, mach_port_name_t name,
                                    std::uint64_t& deadline) {
  ref<port> at;
  const kern_return_t result = find(caller, name, at);
  if (result != KERN_SUCCESS) return result;
  const std::lock_guard hold(lock_);
  disarm(at.get(), deadline);
  return KERN_SUCCESS;
}

// Requires the lock.
void timer_service::disarm(port* timer, std::uint64_t& deadline) {
  deadline = std::exchange(timers_.at(timer), unarmed);
  if (deadline != unarmed) armed_.erase({deadline, timer});
}

// Forgets the timers whose receive right was destroyed. Requires the lock, and that `cleanup` has
// nothing to do for them: a dead port sends no notification of its send rights.
void timer_service::sweep(deferred_work& cleanup) {
  for (auto each = timers_.begin(); each != timers_.end();) {
    const auto [timer, deadline] = *each;
    bool is_active = false;
    {
      const std::lock_guard hold(timer->lock);
      is_active = timer->active;
    }
    if (is_active) {
      ++each;
      continue;
    }
    if (deadline != unarmed) armed_.erase({deadline, timer});
    each = timers_.erase(each);
    release_send_right(timer, cleanup);
  }
  sweep_threshold_ = std::max<std::size_t>(32, 2 * timers_.size());
}

// Requires the lock.
bool timer_service::start_thread() noexcept {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  has_thread_ = pthread_create(&thread, nullptr, run_thread, this) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (has_thread_) pthread_detach(thread);
  return has_thread_;
}

void* timer_service::run_thread(void* service) noexcept {
  auto& self = *static_cast<timer_service*>(service);
  for (std::vector<ref<port>> due;;) {
    self.waiting_.prepare();
    const std::uint64_t next = self.take_due(due);
    for (const ref<port>& each : due) self.send_expiry(*each);
    if (due.empty()) self.waiting_.wait(next);
    due.clear();
  }
}

// Takes the timers that are due, as many as there is memory for. Returns when the next one is due.
std::uint64_t timer_service::take_due(std::vector<ref<port>>& due) {
  const std::lock_guard hold(lock_);
  const std::uint64_t now = clock_now();
  try {
    while (!armed_.empty() && armed_.begin()->first <= now) {
      port* const timer = armed_.begin()->second;
      due.push_back(ref<port>(timer));
      std::uint64_t deadline = unarmed;
      disarm(timer, deadline);
    }
  } catch (const std::bad_alloc&) {
    return now + 1000000;  // tries again a millisecond later
  }
  return armed_.empty() ? futex_call::never : armed_.begin()->first;
}

void timer_service::send_expiry(port& to) {
  {
    const std::lock_guard hold(to.lock);
    if (!to.active || has_expiry(to)) return;
    copy_send_right(to);
  }
  deferred_work cleanup(kernel_);
  constexpr mach_msg_size_t size = sizeof(mk_timer_expire_msg_t);
  kmsg* const message = kernel_.messages().take(size);
  if (!message) return release_send_right(&to, cleanup);
  std::memset(message->bytes(), 0, size);
  message->destination = {&to, MACH_MSG_TYPE_MOVE_SEND, false};
  message->size = size;
  message->sender = kernel_security;
  message->audit = kernel_audit;
  post_from_kernel(message, cleanup);
}

}  // namespace kedge::mach::kernel
