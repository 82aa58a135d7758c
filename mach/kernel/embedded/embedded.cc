// The binding inside one process: which calls are its own, how the others wait, and how a fork's
// child begins.
#include "kedge/mach/kernel/embedded/embedded.h"

#include <errno.h>
#include <mach/clock_types.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#include "kedge/mach/kernel/core/calls/plain_message.h"
#include "kedge/mach/kernel/core/calls/snapshot_call.h"
#include "kedge/mach/kernel/core/port.h"
#include "kedge/mach/kernel/core/right.h"
#include "kedge/mach/kernel/embedded/clock.h"
#include "kedge/mach/kernel/embedded/futex_call.h"
#include "kedge/mach/kernel/embedded/held_file.h"
#include "kedge/mach/kernel/embedded/machport_filter.h"
#include "kedge/mach/kernel/embedded/memory_entry.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/runtime/base/one_thread.h"

namespace kedge::mach::kernel {
namespace {

// Never destroyed: threads may be in the kernel when the process ends.
std::atomic<embedded*> current{nullptr};
embedded* parents = nullptr;

void begin_child() {
  parents = current.exchange(nullptr, std::memory_order_relaxed);
  forget_clocked_waits();
  set_current_task({});
}

// At start-up, before there are threads or kqueues.
[[maybe_unused]] const int watches_forks = pthread_atfork(nullptr, nullptr, begin_child);
[[maybe_unused]] const bool has_filter = register_machport_filter();

std::uint64_t random_seed() noexcept {
  std::uint64_t seed = 0;
  // Not by getrandom(), which is a cancellation point.
  if (syscall(SYS_getrandom, &seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
    seed = monotonic_now();
  return seed;
}

// The identity that receivers of a task's messages see. The tasks of one process differ by the pid
// version.
identity identity_of_process(pid_t pid, unsigned version) noexcept {
  identity sender;
  const auto uid = static_cast<unsigned>(getuid()), gid = static_cast<unsigned>(getgid());
  const auto euid = static_cast<unsigned>(geteuid()), egid = static_cast<unsigned>(getegid());
  sender.security = {{euid, egid}};
  sender.audit = {{uid, euid, egid, uid, gid, static_cast<unsigned>(pid), 0, version}};
  return sender;
}

// The result of a call of a task that has ended.
kern_return_t refuse(const any_request& request) noexcept {
  if (request.number != call_number::message) return KERN_TERMINATED;
  return request.as<requests::message>().option & MACH_SEND_MSG ? MACH_SEND_INVALID_DEST
                                                                : MACH_RCV_INVALID_NAME;
}

// Makes a port that serves the object, and a send right to it in the caller's space.
kern_return_t name_object(kernel& owner, ipc_task& caller, kernel_object kind,
                          const ref<object>& served, mach_port_name_t& name) {
  const auto at = ref<port>::adopt(new port(kind, served));
  return owner.name_send_right(caller, *at, name);
}

ref<port> make_clock(int id) {
  return ref<port>::adopt(new port(kernel_object::clock, static_cast<std::uint64_t>(id)));
}

// Finds the port of a kernel object as the calls on clocks do, and sets `id` to what the port
// serves. MACH_SEND_INVALID_DEST: the name is not a send right. KERN_INVALID_ARGUMENT: its port
// serves another kind.
kern_return_t find_served_id(ipc_task& caller, mach_port_name_t name, kernel_object kind,
                             std::uint64_t& id) {
  const std::lock_guard hold(caller.names.lock);
  port* found = nullptr;
  if (find_send_right(caller.names, name, found) != KERN_SUCCESS) return MACH_SEND_INVALID_DEST;
  if (found->serves != kind) return KERN_INVALID_ARGUMENT;
  id = found->served_task;
  return KERN_SUCCESS;
}

// Puts a newly opened fd into the attachment. Returns 0, or the errno of the failed opening.
std::int32_t attach(int opened, attachment& file) noexcept {
  if (opened < 0) return errno;
  file = attachment(opened, held_file::close);
  return 0;
}

// The caller's memory, which is this process's.
struct direct_memory {
  static bool in(user_address from, void* to, std::size_t size) noexcept {
    std::memcpy(to, reinterpret_cast<const void*>(from), size);
    return true;
  }
  static bool out(const void* from, user_address to, std::size_t size) noexcept {
    std::memcpy(reinterpret_cast<void*>(to), from, size);
    return true;
  }
};

}  // namespace

binding& default_binding() {
  return embedded::instance();
}

embedded& embedded::instance() {
  embedded* const made = current.load(std::memory_order_acquire);
  return made ? *made : make();
}

void embedded::expire_timers() noexcept {
  if (embedded* const made = current.load(std::memory_order_acquire)) {
    made->timers_.expire_by_program();
  }
}

embedded& embedded::make() {
  embedded* const fresh = new embedded;
  embedded* expected = nullptr;
  if (current.compare_exchange_strong(expected, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;
  return *expected;
}

embedded::embedded()
    : clocks_{make_clock(SYSTEM_CLOCK), make_clock(CALENDAR_CLOCK)},
      own_(create_task(nullptr, {})),
      abandoned_(parents) {}

ref<ipc_task> embedded::create_task(ipc_task* parent, const requests::task_create& options) {
  static std::atomic<unsigned> last_version{0};
  const name_policy names =
      options.first_index != 0
          ? name_policy{false, 0, options.first_index}
          : name_policy{true, options.is_seeded != 0 ? options.name_seed : random_seed(), 0};
  const unsigned version = options.pid_version != 0 ? options.pid_version : ++last_version;
  const identity known = identity_of_process(options.pid != 0 ? options.pid : getpid(), version);
  return kernel_.create_task(names, known, parent);
}

bool embedded::call_of_process(ipc_task& caller, const any_request& request, any_reply& reply,
                               copyio& memory, attachment* file) {
  if (request.number < first_of_binding) return false;
  try {
    switch (request.number) {
      case call_number::snapshot:
        reply.result =
            copy_snapshot(request.as<requests::snapshot>(), reply.as<replies::snapshot>(), memory);
        return true;
      case call_number::set_profile:
        kernel_.os_profile() =
            static_cast<profile::os_version>(request.as<requests::set_profile>().version);
        return true;
      case call_number::set_strict_replies:
        kernel_.strict_replies() = request.as<requests::set_strict_replies>().enforced != 0;
        return true;
      case call_number::plan_faults:
        plan_faults(request.as<requests::plan_faults>(), reply.as<replies::plan_faults>());
        return true;
      default: {
        attachment none;
        return call_of_tasks(caller, request, reply) ||
               call_of_time(caller, request, reply, memory) ||
               call_of_files(caller, request, reply, file ? *file : none);
      }
    }
  } catch (const std::bad_alloc&) {
    reply.result = KERN_RESOURCE_SHORTAGE;
    return true;
  }
}

bool embedded::call_of_tasks(ipc_task& caller, const any_request& request, any_reply& reply) {
  switch (request.number) {
    case call_number::task_create:
      reply.result =
          make_task(caller, request.as<requests::task_create>(), reply.as<replies::task_create>());
      return true;
    case call_number::task_terminate: {
      const std::uint64_t id = request.as<requests::task_terminate>().id;
      // The process's own task, 0, cannot be ended this way.
      if (ref<ipc_task> ending = id == 0 ? ref<ipc_task>() : find(id)) {
        kernel_.terminate_task(*ending);
      }
      return true;
    }
    case call_number::task_self_port:
      reply.result = name_task(caller, request.as<requests::task_self_port>(),
                               reply.as<replies::task_self_port>());
      return true;
    case call_number::task_place_right:
      reply.result = place_right(caller, request.as<requests::task_place_right>(),
                                 reply.as<replies::task_place_right>());
      return true;
    case call_number::task_set_guards: {
      const auto& asked = request.as<requests::task_set_guards>();
      if (ref<ipc_task> of = find(asked.id)) {
        of->guards.set(static_cast<guard_policy::behaviour>(asked.behaviour));
      }
      return true;
    }
    case call_number::task_take_guard:
      reply.result =
          take_guard(request.as<requests::task_take_guard>(), reply.as<replies::task_take_guard>());
      return true;
    case call_number::task_limit_names:
      limit_names(request.as<requests::task_limit_names>());
      return true;
    case call_number::task_port_number:
      reply.result = number_port(request.as<requests::task_port_number>(),
                                 reply.as<replies::task_port_number>());
      return true;
    default:
      return false;
  }
}

kern_return_t embedded::make_task(ipc_task& caller, const requests::task_create& request,
                                  replies::task_create& reply) {
  reply.id = create_task(&caller, request)->id;
  return KERN_SUCCESS;
}

kern_return_t embedded::name_task(ipc_task& caller, const requests::task_self_port& request,
                                  replies::task_self_port& reply) {
  const ref<ipc_task> of = find(request.id);
  return of ? kernel_.name_send_right(caller, of->self_port(), reply.name) : KERN_TERMINATED;
}

kern_return_t embedded::place_right(ipc_task& caller, const requests::task_place_right& request,
                                    replies::task_place_right& reply) {
  const ref<ipc_task> into = find(request.id);
  if (!into) return KERN_TERMINATED;
  ref<port> target;
  {
    const std::lock_guard hold(caller.names.lock);
    port* found = nullptr;
    const kern_return_t failed = find_send_right(caller.names, request.right, found);
    if (failed != KERN_SUCCESS) return failed;
    target = ref<port>(found);
  }
  return kernel_.name_send_right(*into, *target, reply.name);
}

kern_return_t embedded::take_guard(const requests::task_take_guard& request,
                                   replies::task_take_guard& reply) {
  const ref<ipc_task> of = find(request.id);
  return of && of->guards.take(reply.oldest) ? KERN_SUCCESS : KERN_FAILURE;
}

void embedded::limit_names(const requests::task_limit_names& request) {
  const ref<ipc_task> of = find(request.id);
  if (!of) return;
  const std::lock_guard hold(of->names.lock);
  of->names.max_names = request.count;
}

kern_return_t embedded::number_port(const requests::task_port_number& request,
                                    replies::task_port_number& reply) {
  const ref<ipc_task> of = find(request.id);
  if (!of) return KERN_TERMINATED;
  const std::lock_guard hold(of->names.lock);
  const entry* const named = of->names.find(request.name);
  if (named == nullptr || named->target == nullptr || named->target->kind != object_kind::port) {
    return KERN_INVALID_NAME;
  }
  auto& at = static_cast<port&>(*named->target);
  const std::lock_guard hold_port(at.lock);
  if (!at.active) return KERN_INVALID_NAME;
  reply.number = kernel_.number_of(at);
  return KERN_SUCCESS;
}

// extension.h names the points as core does.
static_assert(static_cast<std::uint32_t>(fault::displaced_request) + 1 == fault_point_count);

void embedded::plan_faults(const requests::plan_faults& request, replies::plan_faults& reply) {
  const ref<ipc_task> of = request.of_task != 0 ? find(request.id) : ref<ipc_task>();
  // No call passes a point of a task that has ended.
  constexpr std::uint64_t no_task = ~std::uint64_t{0};
  const std::uint64_t task = of ? of->id : request.of_task != 0 ? no_task : 0;
  const fault_counts before = kernel_.faults().plan({.points = request.points,
                                                     .one_in = request.one_in,
                                                     .nth = request.nth,
                                                     .seed = request.seed,
                                                     .task = task});
  reply = {before.passed, before.caused, static_cast<std::uint32_t>(before.last)};
}

kern_return_t embedded::copy_snapshot(const requests::snapshot& request, replies::snapshot& reply,
                                      copyio& memory) {
  const std::vector<std::uint64_t> words = take_snapshot(kernel_);
  reply.words = words.size();
  if (words.size() > request.words.size) return KERN_SUCCESS;
  return memory.out(words.data(), request.words.at, words.size() * sizeof words.front())
             ? KERN_SUCCESS
             : KERN_INVALID_ADDRESS;
}

bool embedded::call_of_time(ipc_task& caller, const any_request& request, any_reply& reply,
                            copyio& memory) {
  switch (request.number) {
    case call_number::timer_create:
      reply.result = timers_.create(caller, reply.as<replies::timer_create>().name);
      return true;
    case call_number::timer_destroy:
      reply.result = timers_.destroy(caller, memory, request.as<requests::timer_destroy>().name);
      return true;
    case call_number::timer_arm: {
      const auto& asked = request.as<requests::timer_arm>();
      reply.result = timers_.arm(caller, asked.name, asked.deadline);
      return true;
    }
    case call_number::timer_cancel:
      reply.result = timers_.cancel(caller, request.as<requests::timer_cancel>().name,
                                    reply.as<replies::timer_cancel>().deadline);
      return true;
    case call_number::next_timer:
      reply.as<replies::next_timer>().deadline = timers_.next_due();
      return true;
    case call_number::clock_service:
      reply.result = name_clock(caller, request.as<requests::clock_service>(),
                                reply.as<replies::clock_service>());
      return true;
    case call_number::clock_id:
      reply.result =
          identify_clock(caller, request.as<requests::clock_id>(), reply.as<replies::clock_id>());
      return true;
    default:
      return false;
  }
}

kern_return_t embedded::name_clock(ipc_task& caller, const requests::clock_service& request,
                                   replies::clock_service& reply) {
  std::uint64_t unused = 0;
  const kern_return_t failed = find_served_id(caller, request.host, kernel_object::host, unused);
  if (failed != KERN_SUCCESS) return failed;
  if (request.clock != SYSTEM_CLOCK && request.clock != CALENDAR_CLOCK) {
    return KERN_INVALID_ARGUMENT;
  }
  return kernel_.name_send_right(caller, *clocks_[static_cast<std::size_t>(request.clock)],
                                 reply.name);
}

kern_return_t embedded::identify_clock(ipc_task& caller, const requests::clock_id& request,
                                       replies::clock_id& reply) {
  std::uint64_t id = 0;
  const kern_return_t failed = find_served_id(caller, request.name, kernel_object::clock, id);
  if (failed == KERN_SUCCESS) reply.clock = static_cast<std::int32_t>(id);
  return failed;
}

bool embedded::call_of_files(ipc_task& caller, const any_request& request, any_reply& reply,
                             attachment& file) {
  switch (request.number) {
    case call_number::fileport_make:
      reply.result = make_fileport(caller, file, reply.as<replies::fileport_make>());
      return true;
    case call_number::fileport_open:
      reply.result = open_fileport(caller, request.as<requests::fileport_open>(), file,
                                   reply.as<replies::fileport_open>());
      return true;
    case call_number::memory_entry_make:
      reply.result = make_entry(caller, request.as<requests::memory_entry_make>(), file,
                                reply.as<replies::memory_entry_make>());
      return true;
    case call_number::memory_entry_open:
      reply.result = open_entry(caller, request.as<requests::memory_entry_open>(), file,
                                reply.as<replies::memory_entry_open>());
      return true;
    case call_number::memory_entry_range:
      reply.result = range_of_entry(caller, request.as<requests::memory_entry_range>(),
                                    reply.as<replies::memory_entry_range>());
      return true;
    default:
      return false;
  }
}

kern_return_t embedded::make_fileport(ipc_task& caller, attachment& file,
                                      replies::fileport_make& reply) {
  if (!file) return KERN_INVALID_ARGUMENT;
  const auto held = ref<object>::adopt(new held_file(file.fd()));
  file.release();
  return name_object(kernel_, caller, kernel_object::file, held, reply.name);
}

kern_return_t embedded::open_fileport(ipc_task& caller, const requests::fileport_open& request,
                                      attachment& file, replies::fileport_open& reply) {
  const ref<object> held = kernel_.find_served(caller, request.name, kernel_object::file);
  if (!held) return KERN_INVALID_ARGUMENT;
  reply.error = attach(static_cast<const held_file&>(*held).open_again(0), file);
  return KERN_SUCCESS;
}

kern_return_t embedded::make_entry(ipc_task& caller, const requests::memory_entry_make& request,
                                   attachment& file, replies::memory_entry_make& reply) {
  if (!file) return KERN_INVALID_ARGUMENT;
  const auto made = ref<object>::adopt(new memory_entry(file.fd(), request));
  file.release();
  return name_object(kernel_, caller, kernel_object::memory_entry, made, reply.name);
}

kern_return_t embedded::open_entry(ipc_task& caller, const requests::memory_entry_open& request,
                                   attachment& file, replies::memory_entry_open& reply) {
  const ref<object> found = kernel_.find_served(caller, request.name, kernel_object::memory_entry);
  if (!found) return KERN_INVALID_ARGUMENT;
  const auto& named = static_cast<const memory_entry&>(*found);
  reply.error = attach(named.open(), file);
  reply.permission = named.permission;
  reply.data_offset = named.data_offset;
  reply.is_whole = named.is_whole;
  return KERN_SUCCESS;
}

kern_return_t embedded::range_of_entry(ipc_task& caller,
                                       const requests::memory_entry_range& request,
                                       replies::memory_entry_range& reply) {
  const ref<object> found = kernel_.find_served(caller, request.name, kernel_object::memory_entry);
  if (!found) return KERN_INVALID_ARGUMENT;
  const auto& named = static_cast<const memory_entry&>(*found);
  reply = {.offset = named.offset, .size = named.size};
  return KERN_SUCCESS;
}

void embedded::call(std::uint64_t caller, const any_request& request, any_reply& reply,
                    copyio& memory, attachment* file) {
  if (caller != 0 || request.number != call_number::message) {
    return call_as(caller, request, reply, memory, file);
  }
  const auto& message = request.as<requests::message>();
  const bool passed =
      base::one_thread() ? plain_message<direct_memory, true>(kernel_, *own_, reply).pass(message)
                         : plain_message<direct_memory, false>(kernel_, *own_, reply).pass(message);
  if (!passed) perform(*own_, request, reply, memory);
}

void embedded::call_as(std::uint64_t id, const any_request& request, any_reply& reply,
                       copyio& memory, attachment* file) {
  const ref<ipc_task> caller = find(id);
  if (!caller) {
    reply.result = refuse(request);
    return;
  }
  const bool is_done = request.number == call_number::message
                           ? plain_message<direct_memory, false>(kernel_, *caller, reply)
                                 .pass(request.as<requests::message>())
                           : call_of_process(*caller, request, reply, memory, file);
  if (!is_done) perform(*caller, request, reply, memory);
}

void embedded::perform(ipc_task& caller, const any_request& request, any_reply& reply,
                       copyio& memory) {
  futex_call waiting;
  status now = kernel_.begin(caller, request, reply, memory, waiting);
  while (now == status::parked) [[unlikely]] {
    const std::uint64_t limit = waiting.limit();
    const std::uint64_t deadline =
        limit == pending_call::forever ? futex_call::never : deadline_after(limit);
    const futex_call::ended ended = waiting.wait(deadline);
    if (ended != futex_call::ended::woken) {
      const give_up why =
          ended == futex_call::ended::timed_out ? give_up::timed_out : give_up::interrupted;
      if (kernel_.cancel(caller, waiting, why, reply, memory)) return;
      waiting.wait_until_woken();
    }
    waiting.prepare();
    now = kernel_.resume(caller, waiting, reply, memory);
  }
}

}  // namespace kedge::mach::kernel
