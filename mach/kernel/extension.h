// extension: several Mach tasks in one process, and a clock of the program's, beyond Darwin's
// <mach/mach.h>. The clock is for C (from C99 on) and C++; the tasks need C++20.
//
//   task service = create_task();
//   mach_port_insert_right(task_self_port(service), name, right, MACH_MSG_TYPE_MOVE_SEND);
//
// A task is an IPC space: names have a meaning only inside it. Every thread has a current task. The
// kernel looks up mach_task_self() and every name that the thread passes to a mach_* call in that
// task's space. A thread starts in the process's own task. A test harness or a simulation creates
// more tasks, and makes each one current while it runs that task's code, for example by a loop's
// enter and leave hooks. The first rights of a new task are inserted through its self port, as
// above.
//
// terminate_task() is allowed at any moment. The task's rights are destroyed, and its peers get
// their dead-name and no-senders notifications. Threads that are blocked in calls of the task
// return (KERN_TERMINATED, MACH_RCV_PORT_DIED, MACH_SEND_INVALID_DEST), and every later call fails
// in the same way. Handles are never reused. After a fork the child has only the process's own
// task, with an empty space.
//
// send() and receive() are mach_msg() with an answer that a loop can use: which of its own ports
// has got a message, and whether a queue is empty now.
//
// use_clock() replaces the clock of time-outs and timers, for tests in virtual time. The clock of
// each kqueue is set and moved separately (kedge/runtime/kqueue/extension.h): docs/virtual-time.md
// has a recipe.
//
// plan_faults() makes calls fail that would succeed, for tests. What happens is what the real cause
// does: a send that finds its queue full gives the message back, and a peer that dies is a task
// that ends. mach/kernel/README.md lists the points. A sweep tries them one after the other:
//
//   for (std::uint64_t nth = 1;; ++nth) {
//     plan_faults({.nth = nth});
//     run();
//     if (end_faults().caused == 0) break;  // the run has fewer points
//   }
//
// Threads: all functions may be called from any thread.
// On Darwin a process is one task: create_task() returns that task, has_many_tasks() is false,
// send() and receive() know less, and the other functions have no effect.
#pragma once

#include <mach/mach.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
#define KEDGE_MACH_NOEXCEPT noexcept
extern "C" {
#else
#define KEDGE_MACH_NOEXCEPT
#endif

// Returns the nanoseconds of a monotonic clock. Must be callable from any thread, and must not call
// the kernel.
typedef uint64_t kedge_mach_clock(void* argument);

#if defined(__APPLE__)

static inline bool kedge_mach_use_clock(kedge_mach_clock* clock,
                                        void* argument) KEDGE_MACH_NOEXCEPT {
  return (void)clock, (void)argument, false;
}
static inline void kedge_mach_clock_moved(void) KEDGE_MACH_NOEXCEPT {}

#else

// Replaces the clock of the process by clock(argument), for virtual time: of the time-outs of
// mach_msg and semaphores, of mach_wait_until, and of mach_absolute_time and its relatives, which
// all return its value. Null restores CLOCK_MONOTONIC. `argument` is the caller's, and must live as
// long as the clock is in use. A fork's child keeps the clock. Returns true; on Darwin false.
//
// With a replaced clock no time-out ends by itself: a call that is blocked with a time-out reads
// the clock when it begins to wait and after kedge_mach_clock_moved(), and times out if its
// deadline has passed. Calls without a time-out, or with one of 0, do not read the clock.
//
// The timers of mk_timer_arm() expire by the replaced clock too: in kedge_mach_clock_moved(), or in
// mk_timer_arm() if the time has passed.
//
// Requires that no thread reads the clock concurrently: no call with a time-out is in progress, and
// no timer is armed. Costs a call that blocks, and each reading of the time, one load; a call that
// blocks with a time-out by a replaced clock also a lock and two updates of a list.
bool kedge_mach_use_clock(kedge_mach_clock* clock, void* argument) KEDGE_MACH_NOEXCEPT;

// Sends the messages of the timers that are due by a replaced clock, in the order of their times.
// They are queued or received when it returns. Then wakes the calls that are blocked with a
// time-out by the clock, so that they read the clock again: a call that waits for a timer gets the
// message, even if its time-out has passed too. To be called after the clock has moved, from any
// thread. Costs a system call for each call that it wakes.
void kedge_mach_clock_moved(void) KEDGE_MACH_NOEXCEPT;

#endif

#undef KEDGE_MACH_NOEXCEPT

#ifdef __cplusplus
}  // extern "C"
#endif

#if defined(__cplusplus) && __cplusplus >= 202002L

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace kedge::mach::kernel {

// The handle of a task of this process. The default value is the process's own task.
struct task {
  std::uint64_t id = 0;
  friend bool operator==(task, task) = default;
};

// Which guard exceptions (EXC_GUARD) of a task's calls are delivered. Delivery writes the guard,
// the port and the call to standard error and ends the task. If that is the process's own task, the
// process aborts.
enum class guard_behaviour {
  ordinary,  // only those that are fatal to every task
  hardened,  // all, as for a task of Darwin that has opted in
  record,    // none; each is kept until take_guard_exceptions()
};

struct guard_exception {
  std::uint32_t code = 0;  // kGUARD_EXC_*
  mach_port_name_t name = MACH_PORT_NULL;
  std::uint64_t subcode = 0;
  bool always_fatal = false;
};

using clock_function = std::uint64_t (*)(void* argument) noexcept;

// The version of macOS that the kernel follows where versions differ.
enum class kernel_profile { macos11, macos15 };

// Where a call can fail for a reason that its caller does not control. mach/kernel/README.md says
// what each one does to which calls.
enum class fault : std::uint32_t {
  message_memory,     // no memory for a message
  death_before,       // the peer's task ends before the call
  descriptor_memory,  // no memory for what the descriptors of a message carry
  array_memory,       // no memory for an array of rights
  sent_memory,        // no memory for a copy of out-of-line memory
  sent_right,         // another thread releases the right that a descriptor moves
  full_queue,         // the queue is full while a send looks
  queue_ceiling,      // the queue takes no message by a send-once right either
  interruption,       // a signal, when the call begins to wait
  death_during,       // the peer's task ends when the call has taken its rights
  death_after,        // the peer's task ends when the call is done
  received_room,      // no addresses for out-of-line memory that arrives or comes back
  received_memory,    // no memory for the same
  no_name,            // the space takes no more names
  name_reuse,         // the name that was freed last comes again
  port_memory,        // no memory for a port, a set, a member, a request
  early_room,         // a queue that is full again is reported to have room
  displaced_request,  // another library displaces a request for a notification, and cancels its own
};

// Which passages of which fault points fail.
struct fault_plan {
  static constexpr std::uint32_t all = ~std::uint32_t{0};
  static constexpr std::uint32_t only(fault point) noexcept {
    return std::uint32_t{1} << static_cast<std::uint32_t>(point);
  }
  std::uint32_t points = all;  // or'ed bits of only(); the others are not passed
  std::uint64_t nth = 0;       // this passage fails, counted from 1
  std::uint32_t one_in = 0;    // each passage fails with a chance of one in so many
  std::uint64_t seed = 0;      // says which ones, for `one_in`
  std::optional<task> of{};    // only the calls of this task pass
};

struct fault_tally {
  std::uint64_t passed = 0;  // how many fault points the calls have passed
  std::uint32_t caused = 0;  // how many of them have failed
  fault last{};              // the latest one; has a meaning if `caused` is not 0
};

// What send() returns.
struct sending {
  mach_msg_return_t code;  // mach_msg()'s
  // If the message was queued in a port whose receive right the current task has: the name of the
  // right, or of a port set that has the port. The knotes of that name in the task's kqueues
  // (EVFILT_MACHPORT) are active. A hint: another thread may take the message. MACH_PORT_NULL if
  // the kernel does not know, or has no such knote.
  mach_port_name_t awakened;
};

// What receive() returns.
struct receiving {
  mach_msg_return_t code;  // mach_msg()'s
  // With MACH_MSG_SUCCESS: no message was left when this one was taken. A later one activates the
  // knotes of the port or set again. False if the kernel does not know.
  bool emptied;
};

#if defined(__APPLE__)

inline constexpr bool has_many_tasks() noexcept {
  return false;
}
// The name is the destination's. It is the receive right's own if it is a send right to a port of
// this task, and else no kqueue has a knote of it.
inline sending send(mach_msg_header_t* m, mach_msg_option_t options,
                    mach_msg_size_t size) noexcept {
  const mach_port_name_t to = m->msgh_remote_port;
  const mach_msg_return_t code =
      mach_msg(m, MACH_SEND_MSG | options, size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
  return {code, code == MACH_MSG_SUCCESS ? to : mach_port_name_t{MACH_PORT_NULL}};
}
inline receiving receive(mach_msg_header_t* m, mach_msg_option_t options, mach_msg_size_t size,
                         mach_port_name_t from) noexcept {
  return {mach_msg(m, MACH_RCV_MSG | options, 0, size, from, 0, MACH_PORT_NULL), false};
}
inline task create_task() {
  return {};
}
inline task set_current_task(task) noexcept {
  return {};
}
inline task task_of_thread() noexcept {
  return {};
}
inline void terminate_task(task) noexcept {}
inline mach_port_t task_self_port(task) noexcept {
  return mach_task_self();
}
inline kern_return_t place_right(task, mach_port_name_t right, mach_port_name_t* name) noexcept {
  *name = right;
  return mach_port_mod_refs(mach_task_self(), right, MACH_PORT_RIGHT_SEND, 1);
}
inline task create_task(std::uint32_t) {
  return {};
}
inline void limit_names(task, std::uint32_t) noexcept {}
inline void set_guard_behaviour(task, guard_behaviour) noexcept {}
inline std::vector<guard_exception> take_guard_exceptions(task) {
  return {};
}
inline void set_kernel_profile(kernel_profile) noexcept {}
inline void enforce_strict_replies(bool) noexcept {}
inline fault_tally plan_faults(const fault_plan&) noexcept {
  return {};
}
inline fault_tally end_faults() noexcept {
  return {};
}

#else

inline constexpr bool has_many_tasks() noexcept {
  return true;
}

// mach_msg(MACH_SEND_MSG), without a time-out or with one of 0 (MACH_SEND_TIMEOUT), and with no
// port to notify.
sending send(mach_msg_header_t* message, mach_msg_option_t options, mach_msg_size_t size) noexcept;
// mach_msg(MACH_RCV_MSG) from the receive right or port set `from`, without a time-out or with one
// of 0 (MACH_RCV_TIMEOUT).
receiving receive(mach_msg_header_t* buffer, mach_msg_option_t options, mach_msg_size_t size,
                  mach_port_name_t from) noexcept;

// Creates a task with an empty space. Throws std::bad_alloc.
task create_task();

// The same, but with predictable names: they are allocated in order from `first_index` (the upper
// 24 bits of a name, at least 16), and a freed name is the next to be allocated. For a replay,
// which needs ordered names that no two of its tasks share.
task create_task(std::uint32_t first_index);

namespace detail {
inline constinit thread_local task of_thread{};
}

// Makes `next` the calling thread's current task. Returns the previous one.
inline task set_current_task(task next) noexcept {
  return std::exchange(detail::of_thread, next);
}
inline task task_of_thread() noexcept {
  return detail::of_thread;
}

// Ends the task. Has no effect if it has ended, or if it is the process's own task.
void terminate_task(task) noexcept;

// Returns a send right to the task's self port, in the current task's space. The caller deallocates
// the one user reference. For the current task it is mach_task_self(), which need not be released.
// MACH_PORT_DEAD if the task has ended, or if the current space has no room for the name.
mach_port_t task_self_port(task) noexcept;

// Copies the send right `right` of the current space into the task's. Sets `name` to its name
// there, which gets a user reference that the task's code owns: a fresh name, or the one by which
// the task has the right already. KERN_TERMINATED: the task has ended. KERN_INVALID_NAME,
// KERN_INVALID_RIGHT: `right` is not a live send right. KERN_NO_SPACE, KERN_RESOURCE_SHORTAGE.
kern_return_t place_right(task into, mach_port_name_t right, mach_port_name_t* name) noexcept;

// Limits the names in the task's space to `count`, besides those that it has from its start. Beyond
// the limit new rights fail (KERN_NO_SPACE, MACH_MSG_IPC_SPACE). Four million by default. Existing
// names stay. Has no effect if the task has ended.
void limit_names(task, std::uint32_t count) noexcept;

// `ordinary` by default. Has no effect if the task has ended.
void set_guard_behaviour(task, guard_behaviour) noexcept;
// Returns the guard exceptions recorded since the last call, the oldest first. Empty if the task
// has ended. An exception for which the kernel had no memory is missing. Throws std::bad_alloc.
std::vector<guard_exception> take_guard_exceptions(task of);

// macos15 by default. Applies to the whole kernel. Requires that no call is in progress.
void set_kernel_profile(kernel_profile) noexcept;

// Sets whether MACH_MSG_STRICT_REPLY is enforced. Not by default, as on Darwin, where the boot
// argument ipc_strict_reply enables it. Applies to the whole kernel. Requires that no call is in
// progress.
void enforce_strict_replies(bool) noexcept;

// Makes calls fail by the plan, and returns what has happened under the plan before. Applies to the
// whole kernel, calls of this library's among them: a plan may be for one task. Requires that no
// call is in progress. While there is a plan, mach_msg has no fast path.
fault_tally plan_faults(const fault_plan& plan) noexcept;
// Ends the plan. Returns what has happened under it. Requires that no call is in progress.
fault_tally end_faults() noexcept;

#endif

inline bool use_clock(clock_function now, void* argument) noexcept {
  return kedge_mach_use_clock(now, argument);
}
inline void clock_moved() noexcept {
  kedge_mach_clock_moved();
}

// Makes a task the calling thread's current one until the end of the scope.
class current_task_guard {
 public:
  explicit current_task_guard(task next) noexcept : previous_(set_current_task(next)) {}
  ~current_task_guard() { set_current_task(previous_); }
  current_task_guard(const current_task_guard&) = delete;
  current_task_guard& operator=(const current_task_guard&) = delete;

 private:
  task previous_;
};

}  // namespace kedge::mach::kernel

#endif
