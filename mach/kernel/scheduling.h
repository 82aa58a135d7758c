// scheduling: lets a simulation run the tasks of this process one at a time, and see each of their
// calls. Beyond Darwin's <mach/mach.h>, for C++20.
//
//   class simulation final : public call_scheduler { ... };
//   const task service = create_task({.name_seed = 1, .pid = 101});
//   set_call_scheduler(&simulation);
//
// A call of a thread that has a kedge::base::parker is announced by before() and reported by
// after(), both on the thread. What the call waits for, it waits for by the parker. Calls of other
// threads are not seen.
//
// On Darwin there is no such scheduler: set_call_scheduler() returns false.
#pragma once

#include <mach/mach.h>

#include <cstdint>

#include "kedge/mach/kernel/extension.h"

namespace kedge::mach::kernel {

// One call of a task's code. A mach_msg() that sends and receives is two.
struct scheduled_call {
  task caller;
  const char* function;  // of the C interface, such as "mach_port_deallocate"
  // False for calls that no other task can notice, and that notice nothing of other tasks: they
  // only look something up in the caller's space, or make a name there.
  bool is_noticeable;

  // Of mach_msg() only; all 0 for other calls.
  mach_msg_option_t options;
  const mach_msg_header_t* sent;      // with MACH_SEND_MSG, in before(): the caller's message
  mach_msg_size_t sent_size;          // its bytes
  const mach_msg_header_t* received;  // in after(), if a message was received
  mach_port_name_t receive_name;      // with MACH_RCV_MSG: the right or set that it receives from

  // In after().
  kern_return_t result;
};

// Threads: called on the thread that makes the call, with no lock of the kernel held. The functions
// may make calls of their own, which are not seen, and may switch to another stack.
class call_scheduler {
 public:
  virtual void before(const scheduled_call& call) noexcept = 0;
  virtual void after(const scheduled_call& call) noexcept = 0;

 protected:
  call_scheduler() = default;
  ~call_scheduler() = default;
};

// What a task of a simulation is made with, so that it is the same in every run.
struct task_options {
  std::uint64_t name_seed = 1;    // of the order in which names are given out
  std::int32_t pid = 0;           // in its audit token; 0: the process's own
  std::uint32_t pid_version = 0;  // likewise; 0: the next one of the process
};

#if defined(__APPLE__)

inline bool set_call_scheduler(call_scheduler*) noexcept {
  return false;
}
inline task create_task(const task_options&) {
  return {};
}
inline std::uint64_t port_number(task, mach_port_name_t) noexcept {
  return 0;
}
inline std::uint64_t next_timer() noexcept {
  return ~std::uint64_t{0};
}

#else

// Announces the calls to `chosen`, or to no scheduler if it is null. Returns true. Requires that no
// call is in progress.
bool set_call_scheduler(call_scheduler* chosen) noexcept;

// Throws std::bad_alloc.
task create_task(const task_options& options);

// Returns the number of the port that `name` stands for in the task's space: no other of this
// process has or has had it. Numbers are given out when they are first asked for. 0: the name
// stands for none, or is a dead name or a port set's.
std::uint64_t port_number(task within, mach_port_name_t name) noexcept;

// Returns when the next timer of mk_timer_arm() is due by the program's clock (use_clock()); the
// largest value: none is armed.
std::uint64_t next_timer() noexcept;

#endif

}  // namespace kedge::mach::kernel
