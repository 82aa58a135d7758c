// The kernel's tasks, and which part of it does which call. The calls that may wait begin, resume
// and are cancelled here; what each call does is in calls/.
#include "kedge/mach/kernel/core/kernel.h"

#include <servers/bootstrap.h>

#include <mutex>
#include <new>
#include <utility>

#include "kedge/mach/kernel/core/calls/bootstrap_call.h"
#include "kedge/mach/kernel/core/calls/message_call.h"
#include "kedge/mach/kernel/core/calls/port_call.h"
#include "kedge/mach/kernel/core/calls/semaphore_call.h"
#include "kedge/mach/kernel/core/calls/special_port_call.h"
#include "kedge/mach/kernel/core/calls/voucher_call.h"
#include "kedge/mach/kernel/core/copy_out.h"
#include "kedge/mach/kernel/core/deferred_work.h"
#include "kedge/mach/kernel/core/ipc_port_set.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {

kernel::kernel()
    : host_port_(ref<port>::adopt(new port(kernel_object::host, 0))),
      bootstrap_port_(ref<port>::adopt(new port(kernel_object::bootstrap, 0))) {}

kernel::~kernel() {
  std::map<std::uint64_t, ref<ipc_task>> tasks = std::move(tasks_);
  for (auto& [id, each] : tasks) {
    deferred_work cleanup(*this);
    each->terminate(cleanup);
  }
  deferred_work cleanup(*this);
  names_.end(cleanup);
}

ref<ipc_task> kernel::create_task(const name_policy& names, const identity& sender,
                                  ipc_task* parent) {
  const std::lock_guard hold(tasks_lock_);
  const std::uint64_t id = next_task_id_;
  // The map's entry is made first: only the end of a task returns what it holds.
  const auto place = tasks_.try_emplace(id).first;
  try {
    place->second = ref<ipc_task>::adopt(
        new ipc_task(id, names, sender, *host_port_, parent, *bootstrap_port_, faults_));
  } catch (const std::bad_alloc&) {
    tasks_.erase(place);
    throw;
  }
  ++next_task_id_;
  return place->second;
}

ref<ipc_task> kernel::find_task(std::uint64_t id) noexcept {
  const std::lock_guard hold(tasks_lock_);
  const auto found = tasks_.find(id);
  return found == tasks_.end() ? ref<ipc_task>() : found->second;
}

std::vector<ref<ipc_task>> kernel::tasks() {
  const std::lock_guard hold(tasks_lock_);
  std::vector<ref<ipc_task>> all;
  all.reserve(tasks_.size());
  for (const auto& [id, each] : tasks_) all.push_back(each);
  return all;
}

void kernel::terminate_task(ipc_task& ending) {
  ref<ipc_task> last;
  {
    const std::lock_guard hold(tasks_lock_);
    const auto found = tasks_.find(ending.id);
    if (found == tasks_.end()) return;
    last = std::move(found->second);
    tasks_.erase(found);
  }
  deferred_work cleanup(*this);
  last->terminate(cleanup);
  names_.task_ended(last->id, cleanup);
}

// The task that receives from the port, if it may end by a fault.
ref<ipc_task> kernel::find_mortal_receiver(port& of, const ipc_task& caller) {
  const ipc_space* receiver = nullptr;
  {
    const std::lock_guard hold(of.lock);
    receiver = of.receiver;
  }
  if (!receiver || receiver == &caller.names) return {};
  const std::lock_guard hold(tasks_lock_);
  for (const auto& [id, each] : tasks_) {
    if (&each->names == receiver && id != first_task_id) return each;
  }
  return {};
}

void kernel::end_receiver(port& of, ipc_task& caller, fault_point at) {
  if (!faults_.planned()) return;
  const ref<ipc_task> receiver = find_mortal_receiver(of, caller);
  if (receiver && caller.names.faults.happens(at)) terminate_task(*receiver);
}

kern_return_t kernel::name_send_right(ipc_task& caller, port& to, mach_port_name_t& name) {
  carried_right right;
  {
    const std::lock_guard hold(to.lock);
    right = {make_send_right(to), MACH_MSG_TYPE_MOVE_SEND, false};
  }
  deferred_work cleanup(*this);
  return copy_out_or_release(caller.names, right, name, cleanup);
}

kern_return_t kernel::name_receive_right(ipc_task& caller, ref<port> fresh,
                                         mach_port_name_t& name) {
  carried_right right{fresh.detach(), MACH_MSG_TYPE_MOVE_RECEIVE, false};
  deferred_work cleanup(*this);
  return copy_out_or_release(caller.names, right, name, cleanup);
}

ref<object> kernel::find_served(ipc_task& caller, mach_port_name_t name,
                                kernel_object kind) noexcept {
  const std::lock_guard hold(caller.names.lock);
  port* found = nullptr;
  if (find_send_right(caller.names, name, found) != KERN_SUCCESS) return {};
  return found->serves == kind ? found->served_object : ref<object>();
}

namespace {

constexpr std::uint64_t nanoseconds_per_millisecond = 1000000;

// Finds the task that `name` denotes in the caller's space: the caller itself, or the task to whose
// self port it is a send right.
kern_return_t resolve_task(kernel& all, ipc_task& caller, mach_port_name_t name,
                           ref<ipc_task>& target) {
  if (name == task_self_name) {
    target = ref<ipc_task>(&caller);
    return KERN_SUCCESS;
  }
  std::uint64_t id = 0;
  {
    const std::lock_guard hold(caller.names.lock);
    port* found = nullptr;
    if (find_send_right(caller.names, name, found) != KERN_SUCCESS) return MACH_SEND_INVALID_DEST;
    if (found->serves != kernel_object::task) return KERN_INVALID_TASK;
    id = found->served_task;
  }
  target = all.find_task(id);
  return target ? KERN_SUCCESS : MACH_SEND_INVALID_DEST;
}

// Leaves the guard exception that the call has raised in the reply if the caller's policy is to
// deliver it. Returns `now`.
status apply_guard_policy(ipc_task& caller, any_reply& reply, status now) {
  if (reply.guard.code != 0) [[unlikely]]
    caller.guards.apply(reply.guard);
  return now;
}

kern_return_t copy_identity(const ipc_task& of, const requests::task_identity& request,
                            copyio& memory) {
  const identity& credentials = of.credentials;
  const bool is_copied =
      (!request.security ||
       memory.out(&credentials.security, request.security, sizeof credentials.security)) &&
      (!request.audit || memory.out(&credentials.audit, request.audit, sizeof credentials.audit));
  return is_copied ? KERN_SUCCESS : KERN_INVALID_ADDRESS;
}

void set_up(pending_call& waiting, const requests::message& request) noexcept {
  waiting.option = request.option;
  waiting.send_size = request.send_size;
  waiting.receive_size = request.receive_size;
  waiting.receive_name = request.receive_name;
  waiting.timeout = request.timeout * nanoseconds_per_millisecond;
  waiting.poll_send = (request.option & MACH_SEND_TIMEOUT) && request.timeout == 0;
  waiting.poll_receive = (request.option & MACH_RCV_TIMEOUT) && request.timeout == 0;
  waiting.send_buffer = request.send;
  waiting.receive_buffer = request.receive;
}

}  // namespace

std::uint32_t kernel::number_of(port& of) noexcept {
  const std::lock_guard hold(numbers_lock_);
  if (of.number == 0) of.number = ++last_number_;
  return of.number;
}

status kernel::begin(ipc_task& caller, const any_request& request, any_reply& reply, copyio& memory,
                     pending_call& waiting) {
  deferred_work cleanup(*this);
  if (request.number == call_number::message) {
    set_up(waiting, request.as<requests::message>());
    const status now = message_call(caller, waiting, reply, memory, cleanup).begin();
    return apply_guard_policy(caller, reply, now);
  }
  if (caller.terminated()) {
    reply.result = KERN_TERMINATED;
    return status::done;
  }
  semaphore_call of_semaphore(caller, waiting, reply, cleanup);
  if (of_semaphore.serves(request.number)) return of_semaphore.begin(request);
  try {
    reply.result = call_nonblocking(caller, request, reply, memory, cleanup, of_semaphore);
  } catch (const std::bad_alloc&) {
    reply.result = is_bootstrap_call(request.number) ? BOOTSTRAP_NO_MEMORY : KERN_RESOURCE_SHORTAGE;
  }
  return apply_guard_policy(caller, reply, status::done);
}

// The calls that do not wait.
kern_return_t kernel::call_nonblocking(ipc_task& caller, const any_request& request,
                                       any_reply& reply, copyio& memory, deferred_work& cleanup,
                                       semaphore_call& of_semaphore) {
  if (is_bootstrap_call(request.number)) {
    return bootstrap_call(caller, reply.guard, memory, cleanup).run(request, reply);
  }
  const bool acts_on_caller =
      request.number == call_number::reply_port || request.number == call_number::self;
  ref<ipc_task> target;
  const kern_return_t failed =
      resolve_task(*this, caller, acts_on_caller ? task_self_name : request.target, target);
  if (failed != KERN_SUCCESS) return failed;
  switch (request.number) {
    case call_number::check_task:
      return KERN_SUCCESS;
    case call_number::semaphore_create:
      return of_semaphore.create(*target, request.as<requests::semaphore_create>(),
                                 reply.as<replies::semaphore_create>());
    case call_number::semaphore_destroy:
      return of_semaphore.destroy(*target, request.as<requests::semaphore_destroy>());
    case call_number::voucher_create:
      return voucher_call(caller, memory, cleanup)
          .create(request.as<requests::voucher_create>(), reply.as<replies::voucher_create>());
    case call_number::task_identity:
      return copy_identity(*target, request.as<requests::task_identity>(), memory);
    case call_number::get_guard_behavior:
      reply.as<replies::get_guard_behavior>().behavior = target->guards.bits();
      return KERN_SUCCESS;
    case call_number::set_guard_behavior:
      target->guards.set_bits(request.as<requests::set_guard_behavior>().behavior);
      return KERN_SUCCESS;
    case call_number::get_special_port:
    case call_number::set_special_port:
    case call_number::register_ports:
    case call_number::look_up_ports:
      return special_port_call(caller, *target, reply.guard, cleanup).run(request, reply);
    default:
      return port_call(caller, *target, reply.guard, memory, cleanup).run(request, reply);
  }
}

status kernel::resume(ipc_task& caller, pending_call& woken, any_reply& reply, copyio& memory) {
  deferred_work cleanup(*this);
  if (woken.stage == pending_call::phase::semaphore) {
    return semaphore_call(caller, woken, reply, cleanup).resume();
  }
  const status now = message_call(caller, woken, reply, memory, cleanup).resume();
  return apply_guard_policy(caller, reply, now);
}

bool kernel::cancel(ipc_task& caller, pending_call& waiting, give_up why, any_reply& reply,
                    copyio& memory) {
  deferred_work cleanup(*this);
  if (waiting.stage == pending_call::phase::semaphore) {
    return semaphore_call(caller, waiting, reply, cleanup).cancel(why);
  }
  return message_call(caller, waiting, reply, memory, cleanup).cancel(why);
}

kern_return_t kernel::attach(ipc_task& caller, mach_port_name_t name, watch& by, ref<object>& at) {
  const std::lock_guard hold(caller.names.lock);
  entry* found = caller.names.active ? caller.names.find(name) : nullptr;
  if (!found || convert_if_dead(caller.names, name, *found)) return KERN_INVALID_NAME;
  if ((found->type & (MACH_PORT_TYPE_RECEIVE | MACH_PORT_TYPE_PORT_SET)) == 0) {
    return KERN_INVALID_RIGHT;
  }
  at = ref<object>(found->target);
  const std::lock_guard hold_object(at->lock);
  if (at->kind == object_kind::port) {
    static_cast<port&>(*at).watches.push_back(by);
  } else {
    static_cast<ipc_port_set&>(*at).watches.push_back(by);
  }
  return KERN_SUCCESS;
}

void kernel::detach(watch& by, object& at) noexcept {
  const std::lock_guard hold(at.lock);
  if (!by.link.is_linked()) return;
  if (at.kind == object_kind::port) {
    static_cast<port&>(at).watches.remove(by);
  } else {
    static_cast<ipc_port_set&>(at).watches.remove(by);
  }
}

mach_port_name_t kernel::peek(object& at) noexcept {
  if (at.kind == object_kind::port) {
    port& one = static_cast<port&>(at);
    const std::lock_guard hold(one.lock);
    return one.receiver && one.queue().peek() ? one.receiver_name : MACH_PORT_NULL;
  }
  ipc_port_set& set = static_cast<ipc_port_set&>(at);
  for (;;) {
    ref<port> member;
    {
      const std::lock_guard hold(set.lock);
      membership* const first = set.ready.front();
      if (!first) return MACH_PORT_NULL;
      member = ref<port>(first->member);
    }
    const std::lock_guard hold(member->lock);
    if (member->receiver && member->queue().peek()) return member->receiver_name;
  }
}

void kernel::receive_from(ipc_task& caller, object& at, const requests::message& request,
                          any_reply& reply, copyio& memory, pending_call& unused) {
  deferred_work cleanup(*this);
  unused.stage = pending_call::phase::receive;
  unused.option = request.option;
  unused.receive_size = request.receive_size;
  unused.receive_buffer = request.receive;
  unused.poll_receive = true;
  message_call(caller, unused, reply, memory, cleanup).receive_from(at);
  apply_guard_policy(caller, reply, status::done);
}

}  // namespace kedge::mach::kernel
