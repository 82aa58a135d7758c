// Implements timer_service with one thread.
#include "kedge/mach/kernel/embedded/timer_service.h"

#include <mach/mk_timer.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kedge/mach/kernel/core/notification.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"
#include "kedge/mach/kernel/embedded/clock.h"

namespace kedge::mach::kernel {
namespace {

constexpr mach_msg_size_t message_size = sizeof(mk_timer_expire_msg_t);

constexpr security_token_t kernel_security = KERNEL_SECURITY_TOKEN_VALUE;
constexpr audit_token_t kernel_audit = KERNEL_AUDIT_TOKEN_VALUE;

// Finds the timer whose receive right is under the name, as the calls on timers do.
kern_return_t find_timer(ipc_task& caller, mach_port_name_t name, ref<timer>& found) {
  const std::lock_guard hold(caller.names.lock);
  if (!caller.names.active) return KERN_INVALID_TASK;
  port* at = nullptr;
  const kern_return_t failed = find_receive_right(caller.names, name, at);
  if (failed != KERN_SUCCESS) return failed;
  if (at->serves != kernel_object::timer) return KERN_INVALID_ARGUMENT;
  found = ref<timer>(static_cast<timer*>(at->served_object.get()));
  return KERN_SUCCESS;
}

}  // namespace

void timer::port_destroyed(deferred_work& cleanup) noexcept {
  service_.end(*this, cleanup);
}

kern_return_t timer_service::create(ipc_task& caller, mach_port_name_t& name) {
  const auto made = ref<timer>::adopt(new timer(*this));
  auto fresh = ref<port>::adopt(new port(kernel_object::timer, ref<object>(made.get())));
  fresh->immovable = true;
  made->port_ = make_send_right(*fresh);
  return kernel_.name_receive_right(caller, std::move(fresh), name);
}

// The timer's port is destroyed: no lookup finds it any more.
void timer_service::end(timer& dead, deferred_work& cleanup) noexcept {
  port* send_right = nullptr;
  {
    const std::lock_guard hold(lock_);
    disarm(dead);
    send_right = std::exchange(dead.port_, nullptr);
    if (dead.message_) kmsg_pool::give_back(std::exchange(dead.message_, nullptr));
  }
  release_send_right(send_right, cleanup);
}

kern_return_t timer_service::destroy(ipc_task& caller, copyio& memory, mach_port_name_t name) {
  ref<timer> unused;
  const kern_return_t failed = find_timer(caller, name, unused);
  if (failed != KERN_SUCCESS) return failed;
  any_reply reply;
  futex_call no_wait;
  kernel_.begin(caller, any_request(requests::destroy{name}, task_self_name), reply, memory,
                no_wait);
  return reply.result;
}

kern_return_t timer_service::arm(ipc_task& caller, mach_port_name_t name, std::uint64_t deadline) {
  ref<timer> at;
  const kern_return_t failed = find_timer(caller, name, at);
  if (failed != KERN_SUCCESS) return failed;
  const kern_return_t refused = set_deadline(*at, std::max(deadline, unarmed + 1));
  if (refused == KERN_SUCCESS) expire_by_program();
  return refused;
}

kern_return_t timer_service::set_deadline(timer& of, std::uint64_t deadline) {
  {
    const std::lock_guard hold(lock_);
    // The port may have been destroyed after the look-up. Darwin has no error for that either.
    if (!of.port_) return KERN_SUCCESS;
    const bool by_program = is_clock_replaced();
    if (!by_program && !has_thread_ && !start_thread()) return KERN_RESOURCE_SHORTAGE;
    if (!of.message_) of.message_ = kernel_.messages().take(message_size);
    if (!of.message_) return KERN_RESOURCE_SHORTAGE;
    const due_time due{deadline, armed_count_};
    armed_.emplace(due, &of);
    ++armed_count_;
    disarm(of);
    of.due_ = due;
    // The thread finds any other timer when it wakes.
    if (by_program || deadline >= wakes_at_) return KERN_SUCCESS;
    wakes_at_ = deadline;
  }
  waiting_.wake();
  return KERN_SUCCESS;
}

kern_return_t timer_service::cancel(ipc_task& caller, mach_port_name_t name,
                                    std::uint64_t& deadline) {
  ref<timer> at;
  const kern_return_t failed = find_timer(caller, name, at);
  if (failed != KERN_SUCCESS) return failed;
  const std::lock_guard hold(lock_);
  deadline = disarm(*at);
  return KERN_SUCCESS;
}

// Returns when the timer would have expired. Requires the lock.
std::uint64_t timer_service::disarm(timer& of) noexcept {
  const due_time due = std::exchange(of.due_, due_time{});
  if (due.deadline != unarmed) armed_.erase(due);
  return due.deadline;
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
  for (;;) {
    self.waiting_.prepare();
    self.expire_due(false);
    self.waiting_.wait_by_machine(self.find_next());
  }
}

void timer_service::expire_by_program() noexcept {
  if (is_clock_replaced()) expire_due(true);
}

void timer_service::expire_due(bool by_program) noexcept {
  const std::lock_guard hold(sending_);
  if (is_idle()) return;
  const std::uint64_t now = by_program ? clock_now() : monotonic_now();
  for (;;) {
    const expiry due = take_due(now, by_program);
    if (!due.to) return;
    send(due);
  }
}

// Takes the first timer that is due by the clock that the caller has read. Returns no port if there
// is none, or if the other clock is in use.
timer_service::expiry timer_service::take_due(std::uint64_t now, bool by_program) noexcept {
  const std::lock_guard hold(lock_);
  if (armed_.empty() || is_clock_replaced() != by_program) return {};
  const auto& [due, first] = *armed_.begin();
  if (due.deadline > now) return {};
  expiry taken{ref<port>(first->port_), std::exchange(first->message_, nullptr)};
  disarm(*first);
  return taken;
}

std::uint64_t timer_service::next_due() noexcept {
  const std::lock_guard hold(lock_);
  return armed_.empty() ? futex_call::never : armed_.begin()->first.deadline;
}

bool timer_service::is_idle() noexcept {
  const std::lock_guard hold(lock_);
  return armed_.empty();
}

// Returns until when the thread waits.
std::uint64_t timer_service::find_next() noexcept {
  const std::lock_guard hold(lock_);
  const bool sleeps = armed_.empty() || is_clock_replaced();
  wakes_at_ = sleeps ? futex_call::never : armed_.begin()->first.deadline;
  return wakes_at_;
}

// Whether the timer's last message is queued still: Darwin has only one for each timer. Requires
// the port lock.
bool timer_service::is_last_queued(const timer& of, const port& at) noexcept {
  const std::uint32_t left = of.taken_with_last_ - at.taken();
  return left > 0 && left <= at.queue().count();
}

void timer_service::send(const expiry& due) noexcept {
  deferred_work cleanup(kernel_);
  const std::lock_guard hold(due.to->lock);
  if (!post_expiry(*due.to, due.message, cleanup)) kmsg_pool::give_back(due.message);
}

// Returns false if the message is not to be sent, or there is no room for it. Requires the port
// lock.
bool timer_service::post_expiry(port& to, kmsg* message, deferred_work& cleanup) noexcept {
  auto& from = static_cast<timer&>(*to.served_object);
  if (!to.active || to.at_ceiling() || is_last_queued(from, to)) return false;
  std::memset(message->bytes(), 0, message_size);
  message->size = message_size;
  message->id = 0;
  message->sender = kernel_security;
  message->audit = kernel_audit;
  if (!to.queue().reserve(*message)) return false;
  copy_send_right(to);
  message->destination = {&to, MACH_MSG_TYPE_MOVE_SEND, false};
  from.taken_with_last_ = to.taken() + to.queue().count();
  post(to, message, cleanup);
  return true;
}

}  // namespace kedge::mach::kernel
