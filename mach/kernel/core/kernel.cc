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
#include "kedge/mach/kernel/core/port_set.h"
#include "kedge/mach/kernel/core/right.h"

namespace kedge::mach::kernel {

kernel::kernel()
    : host_port_(ref<port>::adopt(new port(kernel_object::host, 0))),
      bootstrap_port_(ref<port>::adopt(new port(kernel_object::bootstrap, 0))) {}

kernel::~kernel() {
  std::map<std::uint64_t, ref<ipc_task>> tasks = std::move(tasks_);
  for (auto& [id, each] : tasks) {
    deferred_work after(*this);
    each->terminate(after);
  }
  deferred_work after(*this);
  names_.end(after);
}

ref<ipc_task> kernel::create_task(const name_policy& names, const identity& who, ipc_task* parent) {
  const std::lock_guard hold(tasks_lock_);
  const std::uint64_t id = next_task_id_;
  // Its place first: what a task holds can only be given back by its end.
  const auto place = tasks_.try_emplace(id).first;
  try {
    place->second =
        ref<ipc_task>::adopt(new ipc_task(id, names, who, *host_port_, parent, *bootstrap_port_));
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
  deferred_work after(*this);
  last->terminate(after);
  names_.task_ended(last->id, after);
}

kern_return_t kernel::name_send_right(ipc_task& caller, port& to, reply& answer) {
  to.lock.lock();
  carried_right right{make_send_right(to), MACH_MSG_TYPE_MOVE_SEND, false};
  to.lock.unlock();
  mach_port_name_t name = MACH_PORT_NULL;
  caller.names.lock.lock();
  const kern_return_t result = copy_out(caller.names, right, name);
  caller.names.lock.unlock();
  deferred_work after(*this);
  if (result != KERN_SUCCESS) release_right(right, after);
  answer.words[0] = name;
  return result;
}

ref<object> kernel::find_served(ipc_task& caller, mach_port_name_t name,
                                kernel_object kind) noexcept {
  const std::lock_guard hold(caller.names.lock);
  entry* found = MACH_PORT_VALID(name) ? caller.names.find(name) : nullptr;
  if (!found || convert_if_dead(caller.names, name, *found) ||
      (found->type & MACH_PORT_TYPE_SEND) == 0) {
    return {};
  }
  const port& at = static_cast<const port&>(*found->target);
  return at.serves == kind ? at.served_object : ref<object>();
}

namespace {

constexpr std::uint64_t nanoseconds_per_millisecond = 1000000;

// The task that `name` denotes in the caller's space: itself, or the one whose self port it is a
// send right to.
kern_return_t resolve_task(kernel& in, ipc_task& caller, mach_port_name_t name,
                           ref<ipc_task>& found) {
  if (name == task_self_name) {
    found = ref<ipc_task>(&caller);
    return KERN_SUCCESS;
  }
  std::uint64_t id = 0;
  {
    const std::lock_guard hold(caller.names.lock);
    entry* at = caller.names.find(name);
    if (!at || convert_if_dead(caller.names, name, *at) || (at->type & MACH_PORT_TYPE_SEND) == 0) {
      return MACH_SEND_INVALID_DEST;
    }
    const port& named = static_cast<const port&>(*at->target);
    if (named.serves != kernel_object::task) return KERN_INVALID_TASK;
    id = named.served_task;
  }
  found = in.find_task(id);
  return found ? KERN_SUCCESS : MACH_SEND_INVALID_DEST;
}

// What becomes of the guard exception that the call has raised, if it has.
status judge(ipc_task& caller, reply& answer, status now) {
  if (answer.guard.code != 0) [[unlikely]]
    caller.guards.apply(answer.guard);
  return now;
}

}  // namespace

status kernel::begin(ipc_task& caller, const request& what, reply& answer, copyio& memory,
                     pending_call& waiting) {
  deferred_work after(*this);
  if (what.call == call_number::message) {
    const auto option = static_cast<mach_msg_option_t>(what.words[0]);
    waiting.option = option;
    waiting.send_size = static_cast<mach_msg_size_t>(what.words[1]);
    waiting.receive_size = static_cast<mach_msg_size_t>(what.words[2]);
    waiting.receive_name = static_cast<mach_port_name_t>(what.words[3]);
    waiting.timeout = what.words[4] * nanoseconds_per_millisecond;
    waiting.poll_send = (option & MACH_SEND_TIMEOUT) && what.words[4] == 0;
    waiting.poll_receive = (option & MACH_RCV_TIMEOUT) && what.words[4] == 0;
    waiting.send_buffer = what.words[6];
    waiting.receive_buffer = what.words[7];
    const status now = message_call(caller, waiting, answer, memory, after).begin();
    return judge(caller, answer, now);
  }
  if (caller.terminated()) {
    answer.result = KERN_TERMINATED;
    return status::done;
  }
  semaphore_call of_semaphore(caller, waiting, answer, after);
  if (of_semaphore.serves(what.call)) return of_semaphore.begin(what);
  try {
    answer.result = call_at_once(caller, what, answer, memory, after, of_semaphore);
  } catch (const std::bad_alloc&) {
    answer.result = is_bootstrap_call(what.call) ? BOOTSTRAP_NO_MEMORY : KERN_RESOURCE_SHORTAGE;
  }
  return judge(caller, answer, status::done);
}

// The calls that do not wait.
kern_return_t kernel::call_at_once(ipc_task& caller, const request& what, reply& answer,
                                   copyio& memory, deferred_work& after,
                                   semaphore_call& of_semaphore) {
  if (is_bootstrap_call(what.call)) return do_bootstrap_call(caller, what, answer, memory, after);
  // Those without a task argument act on the caller.
  const bool bare = what.call == call_number::reply_port || what.call == call_number::self;
  ref<ipc_task> target;
  const kern_return_t failed =
      resolve_task(*this, caller, bare ? task_self_name : what.target, target);
  if (failed != KERN_SUCCESS) return failed;
  switch (what.call) {
    case call_number::check_task:
      return KERN_SUCCESS;
    case call_number::semaphore_create:
      return of_semaphore.create(*target, what);
    case call_number::semaphore_destroy:
      return of_semaphore.destroy(*target, static_cast<mach_port_name_t>(what.words[0]));
    case call_number::voucher_create:
      return create_voucher(caller, what, answer, memory, after);
    case call_number::get_special_port:
    case call_number::set_special_port:
    case call_number::register_ports:
    case call_number::look_up_ports:
      return do_special_port_call(caller, *target, what, answer, after);
    default:
      do_port_call(caller, *target, what, answer, memory, after);
      return answer.result;
  }
}

status kernel::resume(ipc_task& caller, pending_call& woken, reply& answer, copyio& memory) {
  deferred_work after(*this);
  if (woken.stage == pending_call::phase::semaphore) {
    return semaphore_call(caller, woken, answer, after).resume();
  }
  const status now = message_call(caller, woken, answer, memory, after).resume();
  return judge(caller, answer, now);
}

bool kernel::cancel(ipc_task& caller, pending_call& waiting, give_up why, reply& answer,
                    copyio& memory) {
  deferred_work after(*this);
  if (waiting.stage == pending_call::phase::semaphore) {
    return semaphore_call(caller, waiting, answer, after).cancel(why);
  }
  return message_call(caller, waiting, answer, memory, after).cancel(why);
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
    static_cast<port_set&>(*at).watches.push_back(by);
  }
  return KERN_SUCCESS;
}

void kernel::detach(watch& by, object& at) noexcept {
  const std::lock_guard hold(at.lock);
  if (!by.link.is_linked()) return;
  if (at.kind == object_kind::port) {
    static_cast<port&>(at).watches.remove(by);
  } else {
    static_cast<port_set&>(at).watches.remove(by);
  }
}

mach_port_name_t kernel::peek(object& at) noexcept {
  if (at.kind == object_kind::port) {
    port& one = static_cast<port&>(at);
    const std::lock_guard hold(one.lock);
    return one.receiver && one.queue().peek() ? one.receiver_name : MACH_PORT_NULL;
  }
  port_set& set = static_cast<port_set&>(at);
  for (;;) {
    set.lock.lock();
    membership* first = set.ready.front();
    if (!first) {
      set.lock.unlock();
      return MACH_PORT_NULL;
    }
    const ref<port> member(first->member);
    set.lock.unlock();
    const std::lock_guard hold(member->lock);
    if (member->receiver && member->queue().peek()) return member->receiver_name;
  }
}

void kernel::receive_from(ipc_task& caller, object& at, mach_msg_option_t option,
                          user_address buffer, mach_msg_size_t size, reply& answer, copyio& memory,
                          pending_call& unused) {
  deferred_work after(*this);
  unused.stage = pending_call::phase::receive;
  unused.option = option;
  unused.receive_size = size;
  unused.receive_buffer = buffer;
  unused.poll_receive = true;
  message_call(caller, unused, answer, memory, after).receive_from(at);
  judge(caller, answer, status::done);
}

}  // namespace kedge::mach::kernel
