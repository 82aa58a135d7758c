#include "kedge/mach/kernel/embedded/embedded.h"

#include <errno.h>
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
#include "kedge/mach/kernel/embedded/futex_call.h"
#include "kedge/mach/kernel/embedded/held_file.h"
#include "kedge/mach/kernel/embedded/machport_filter.h"
#include "kedge/mach/kernel/embedded/memory_entry.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/runtime/base/one_thread.h"

namespace kedge::mach::kernel {
namespace {

// Never destroyed: threads may be in it when the process ends.
std::atomic<embedded*> current{nullptr};
embedded* parents = nullptr;

void begin_child() {
  parents = current.exchange(nullptr, std::memory_order_relaxed);
  set_current_task({});
}

// At start-up: before there are threads or kqueues.
[[maybe_unused]] const int watches_forks = pthread_atfork(nullptr, nullptr, begin_child);
[[maybe_unused]] const bool has_filter = register_machport_filter();

std::uint64_t random_seed() noexcept {
  std::uint64_t seed = 0;
  // Not by getrandom(), which is a cancellation point.
  if (syscall(SYS_getrandom, &seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
    seed = monotonic_now();
  return seed;
}

// What the receivers of a task's messages learn of it. The pid version tells the tasks of one
// process apart.
identity identity_of_process(unsigned version) noexcept {
  identity who;
  const auto uid = static_cast<unsigned>(getuid()), gid = static_cast<unsigned>(getgid());
  const auto euid = static_cast<unsigned>(geteuid()), egid = static_cast<unsigned>(getegid());
  who.security = {{euid, egid}};
  who.audit = {{uid, euid, egid, uid, gid, static_cast<unsigned>(getpid()), 0, version}};
  return who;
}

// The caller has ended.
void refuse(const request& what, reply& answer) noexcept {
  if (what.call != call_number::message) {
    answer.result = KERN_TERMINATED;
  } else {
    answer.result = what.words[0] & MACH_SEND_MSG ? MACH_SEND_INVALID_DEST : MACH_RCV_INVALID_NAME;
  }
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

embedded& embedded::make() {
  embedded* const fresh = new embedded;
  embedded* expected = nullptr;
  if (current.compare_exchange_strong(expected, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;
  return *expected;
}

embedded::embedded() : own_(create_task(nullptr)), abandoned_(parents) {}

ref<ipc_task> embedded::create_task(ipc_task* parent, std::uint32_t first_ordered_index) {
  static std::atomic<unsigned> version{0};
  const name_policy names = first_ordered_index != 0 ? name_policy{false, 0, first_ordered_index}
                                                     : name_policy{true, random_seed(), 0};
  return kernel_.create_task(names, identity_of_process(++version), parent);
}

bool embedded::call_of_process(ipc_task& caller, const request& what, reply& answer,
                               copyio& memory) {
  switch (what.call) {
    case call_number::task_create:
      try {
        answer.words[0] = create_task(&caller, static_cast<std::uint32_t>(what.words[0]))->id;
      } catch (const std::bad_alloc&) {
        answer.result = KERN_RESOURCE_SHORTAGE;
      }
      return true;
    case call_number::task_terminate:
      if (ref<ipc_task> ending = what.words[0] == 0 ? ref<ipc_task>() : find(what.words[0])) {
        kernel_.terminate_task(*ending);
      }
      return true;
    case call_number::task_self_port: {
      ref<ipc_task> of = find(what.words[0]);
      answer.result =
          of ? kernel_.name_send_right(caller, of->self_port(), answer) : KERN_TERMINATED;
      return true;
    }
    case call_number::task_set_guards:
      if (ref<ipc_task> of = find(what.words[0])) {
        of->guards.set(static_cast<guard_policy::behaviour>(what.words[1]));
      }
      return true;
    case call_number::task_take_guard: {
      ref<ipc_task> of = find(what.words[0]);
      guard_violation oldest;
      answer.result = of && of->guards.take(oldest) ? KERN_SUCCESS : KERN_FAILURE;
      answer.words = {std::uint64_t{oldest.code} << 32 | oldest.name, oldest.subcode};
      return true;
    }
    case call_number::task_limit_names:
      if (ref<ipc_task> of = find(what.words[0])) {
        const std::lock_guard<space_lock> hold(of->names.lock);
        of->names.max_names = static_cast<std::uint32_t>(what.words[1]);
      }
      return true;
    case call_number::snapshot:
      try {
        const std::vector<std::uint64_t> words = take_snapshot(kernel_);
        answer.words[0] = words.size();
        if (words.size() > what.words[1]) return true;
        if (!memory.out(words.data(), what.words[0], words.size() * sizeof words.front())) {
          answer.result = KERN_INVALID_ADDRESS;
        }
      } catch (const std::bad_alloc&) {
        answer.result = KERN_RESOURCE_SHORTAGE;
      }
      return true;
    case call_number::set_profile:
      kernel_.profile() = static_cast<profile::os_version>(what.words[0]);
      return true;
    case call_number::set_strict_replies:
      kernel_.strict_replies() = what.words[0] != 0;
      return true;
    default:
      return call_of_files(caller, what, answer);
  }
}

bool embedded::call_of_memory(ipc_task& caller, const request& what, reply& answer) {
  if (what.call == call_number::memory_entry_make) {
    const auto descriptor = static_cast<int>(what.words[0]);
    ref<object> entry;
    try {
      entry = ref<object>::adopt(new memory_entry(descriptor, what.words[1], what.words[2],
                                                  static_cast<int>(what.words[3])));
      const auto at = ref<port>::adopt(new port(kernel_object::memory_entry, entry));
      answer.result = kernel_.name_send_right(caller, *at, answer);
    } catch (const std::bad_alloc&) {
      if (!entry) held_file::close(descriptor);
      answer.result = KERN_RESOURCE_SHORTAGE;
    }
    return true;
  }
  const bool opens = what.call == call_number::memory_entry_open;
  if (!opens && what.call != call_number::memory_entry_range) return false;
  const ref<object> found = kernel_.find_served(
      caller, static_cast<mach_port_name_t>(what.words[0]), kernel_object::memory_entry);
  answer.result = found ? KERN_SUCCESS : KERN_INVALID_ARGUMENT;
  if (!found) return true;
  const auto& entry = static_cast<const memory_entry&>(*found);
  answer.words = {entry.offset, entry.size};
  if (opens) {
    const int opened = entry.open();
    answer.words = {static_cast<std::uint64_t>(std::int64_t{opened < 0 ? -errno : opened}),
                    static_cast<std::uint64_t>(entry.permission)};
  }
  return true;
}

bool embedded::call_of_files(ipc_task& caller, const request& what, reply& answer) {
  switch (what.call) {
    case call_number::fileport_make: {
      const auto descriptor = static_cast<int>(what.words[0]);
      ref<object> file;
      try {
        file = ref<object>::adopt(new held_file(descriptor));
        const auto at = ref<port>::adopt(new port(kernel_object::file, file));
        answer.result = kernel_.name_send_right(caller, *at, answer);
      } catch (const std::bad_alloc&) {
        if (!file) held_file::close(descriptor);
        answer.result = KERN_RESOURCE_SHORTAGE;
      }
      return true;
    }
    case call_number::fileport_open: {
      const auto name = static_cast<mach_port_name_t>(what.words[0]);
      const ref<object> file = kernel_.find_served(caller, name, kernel_object::file);
      answer.result = file ? KERN_SUCCESS : KERN_INVALID_ARGUMENT;
      if (!file) return true;
      const int opened = static_cast<const held_file&>(*file).open_again();
      answer.words[0] = static_cast<std::uint64_t>(std::int64_t{opened < 0 ? -errno : opened});
      return true;
    }
    default:
      return call_of_memory(caller, what, answer);
  }
}

void embedded::call(const request& what, reply& answer, copyio& memory) {
  if (what.task != 0 || what.call != call_number::message) return call_as(what, answer, memory);
  const bool passed = base::one_thread()
                          ? plain_message<direct_memory, true>(kernel_, *own_, answer).pass(what)
                          : plain_message<direct_memory, false>(kernel_, *own_, answer).pass(what);
  if (!passed) perform(*own_, what, answer, memory);
}

void embedded::call_as(const request& what, reply& answer, copyio& memory) {
  const ref<ipc_task> caller = find(what.task);
  if (!caller) return refuse(what, answer);
  const bool passed = what.call == call_number::message
                          ? plain_message<direct_memory, false>(kernel_, *caller, answer).pass(what)
                          : call_of_process(*caller, what, answer, memory);
  if (!passed) perform(*caller, what, answer, memory);
}

void embedded::perform(ipc_task& caller, const request& what, reply& answer, copyio& memory) {
  futex_call waiting;
  status now = kernel_.begin(caller, what, answer, memory, waiting);
  while (now == status::parked) [[unlikely]] {
    const std::uint64_t limit = waiting.limit();
    const std::uint64_t deadline =
        limit == pending_call::forever ? futex_call::never : monotonic_now() + limit;
    const futex_call::ended ended = waiting.wait(deadline);
    if (ended != futex_call::ended::woken) {
      const give_up why =
          ended == futex_call::ended::timed_out ? give_up::timed_out : give_up::interrupted;
      if (kernel_.cancel(caller, waiting, why, answer, memory)) return;
      waiting.wait_until_woken();
    }
    waiting.prepare();
    now = kernel_.resume(caller, waiting, answer, memory);
  }
}

}  // namespace kedge::mach::kernel
