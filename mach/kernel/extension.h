// Several tasks in one process: what a host of them needs beyond Darwin's <mach/mach.h>.
//
// A task is an IPC space: names mean something only inside it. Every thread has a current task, in
// which mach_task_self() and every name that the thread passes to a mach_* call are looked up; it
// starts as the process's own task. A test harness or a simulation makes further tasks, and makes
// each the thread's current one while it runs that task's code (the loop's enter and leave hooks
// are made for that). The first rights of a new task are put there through its self port:
//
//   task service = create_task();
//   mach_port_insert_right(task_self_port(service), name, right, MACH_MSG_TYPE_MOVE_SEND);
//
// Terminating a task is legal at any moment: its rights are destroyed (peers get their dead-name
// and no-senders notifications), threads blocked in calls of it return (KERN_TERMINATED,
// MACH_RCV_PORT_DIED, MACH_SEND_INVALID_DEST), and so does every later call. Handles are never
// reused. After fork the child has the process's own task only, empty.
//
// All functions may be called from any thread. On Darwin a process is one task: create_task gives
// that task again, and the rest does nothing; has_many_tasks() tells which it is.
#pragma once

#include <mach/mach.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace kedge::mach::kernel {

// A task of this process; a value. The default is the process's own task.
struct task {
  std::uint64_t id = 0;
  friend bool operator==(task, task) = default;
};

// What a task does about guard exceptions (EXC_GUARD) that its calls raise. One that is delivered
// says on standard error which guard, port and call it was, and ends the task: the whole process,
// if it is the process's own.
enum class guard_behaviour {
  ordinary,  // those that are fatal to every task are delivered, the others not
  hardened,  // the others too, as to a task of Darwin's that has asked for them
  record,    // none is delivered; each is kept until take_guard_exceptions()
};

struct guard_exception {
  std::uint32_t code = 0;  // kGUARD_EXC_*
  mach_port_name_t name = MACH_PORT_NULL;
  std::uint64_t subcode = 0;
  bool always_fatal = false;
};

// Whose answers the kernel gives where those of Apple's kernels differ.
enum class kernel_profile { macos11, macos15 };

#if defined(__APPLE__)

inline constexpr bool has_many_tasks() noexcept {
  return false;
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

#else

inline constexpr bool has_many_tasks() noexcept {
  return true;
}

// A new task with an empty space. Throws std::bad_alloc.
task create_task();

// The same, but its names are handed out in order, from the index (a name's upper 24 bits, at least
// 16) on, and a freed one again at once. For a replay, which needs the names of its tasks in order
// and disjoint.
task create_task(std::uint32_t first_index);

namespace detail {
inline constinit thread_local task of_thread{};
}

// Makes `next` the calling thread's current task; returns the one it was.
inline task set_current_task(task next) noexcept {
  return std::exchange(detail::of_thread, next);
}
inline task task_of_thread() noexcept {
  return detail::of_thread;
}

// Ends the task; of no effect if it has ended. The process's own task cannot be ended this way.
void terminate_task(task) noexcept;

// One user reference to a send right to the task's self port, in the current task's space; to be
// deallocated by the caller. MACH_PORT_DEAD once the task has ended, and if there is no space for
// the name. Of the current task: mach_task_self(), which needs no release.
mach_port_t task_self_port(task) noexcept;

// At most so many names in the task's space, besides those that it has from its start: beyond that
// there is no space for a right (KERN_NO_SPACE, MACH_MSG_IPC_SPACE). Four million until this is
// called; of no effect on names that are there, or if the task has ended.
void limit_names(task, std::uint32_t count) noexcept;

// `ordinary` until this is called; of no effect if the task has ended.
void set_guard_behaviour(task, guard_behaviour) noexcept;
// What has been recorded since the last time, the oldest first. Nothing once the task has ended.
// Throws std::bad_alloc.
std::vector<guard_exception> take_guard_exceptions(task of);

// macos15 until this is called. For the whole kernel; while no call is in progress.
void set_kernel_profile(kernel_profile) noexcept;

// Whether MACH_MSG_STRICT_REPLY is enforced. Not by default, as on Darwin, where the boot argument
// ipc_strict_reply says so. For the whole kernel; while no call is in progress.
void enforce_strict_replies(bool) noexcept;

#endif

// Makes a task the thread's current one until the end of the scope.
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
