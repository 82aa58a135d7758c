// embedded: the kernel inside the process that calls it. Memory is copied directly, waits are
// futexes.
//
// One per process. A fork's child starts with a new, empty one, and leaves its parent's alone: it
// takes none of its locks and runs none of its destructors.
//
// Threads: any.
#pragma once

#include <array>

#include "kedge/mach/kernel/core/binding.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/embedded/timer_service.h"

namespace kedge::mach::kernel {

class embedded final : public binding {
 public:
  // The process's kernel, made by the first call.
  static embedded& instance();

  // Sends the messages of the timers that are due by the program's clock, if there is a kernel yet.
  static void expire_timers() noexcept;

  void call(std::uint64_t caller, const any_request& request, any_reply& reply, copyio& memory,
            attachment* file) override;

  // The rest is for other ways to reach the same kernel (EVFILT_MACHPORT, the loopback of the
  // tests).
  kernel& core() noexcept { return kernel_; }
  // Id 0 is the process's own task. Returns null if the task has ended.
  ref<ipc_task> find(std::uint64_t id) noexcept { return id == 0 ? own_ : kernel_.find_task(id); }
  // Does a call on tasks, on files, on timers or on the kernel itself: those that core leaves to
  // its binding (extension.h has most of them). Returns false, and does nothing, for any other
  // call.
  bool call_of_process(ipc_task& caller, const any_request& request, any_reply& reply,
                       copyio& memory, attachment* file);

 private:
  embedded();
  ~embedded() = default;
  static embedded& make();

  bool call_of_tasks(ipc_task& caller, const any_request& request, any_reply& reply);
  bool call_of_files(ipc_task& caller, const any_request& request, any_reply& reply,
                     attachment& file);
  bool call_of_time(ipc_task& caller, const any_request& request, any_reply& reply, copyio& memory);
  kern_return_t name_clock(ipc_task& caller, const requests::clock_service& request,
                           replies::clock_service& reply);
  kern_return_t identify_clock(ipc_task& caller, const requests::clock_id& request,
                               replies::clock_id& reply);
  kern_return_t make_task(ipc_task& caller, const requests::task_create& request,
                          replies::task_create& reply);
  kern_return_t name_task(ipc_task& caller, const requests::task_self_port& request,
                          replies::task_self_port& reply);
  kern_return_t take_guard(const requests::task_take_guard& request,
                           replies::task_take_guard& reply);
  kern_return_t place_right(ipc_task& caller, const requests::task_place_right& request,
                            replies::task_place_right& reply);
  void limit_names(const requests::task_limit_names& request);
  kern_return_t number_port(const requests::task_port_number& request,
                            replies::task_port_number& reply);
  void plan_faults(const requests::plan_faults& request, replies::plan_faults& reply);
  kern_return_t copy_snapshot(const requests::snapshot& request, replies::snapshot& reply,
                              copyio& memory);
  kern_return_t make_fileport(ipc_task& caller, attachment& file, replies::fileport_make& reply);
  kern_return_t open_fileport(ipc_task& caller, const requests::fileport_open& request,
                              attachment& file, replies::fileport_open& reply);
  kern_return_t make_entry(ipc_task& caller, const requests::memory_entry_make& request,
                           attachment& file, replies::memory_entry_make& reply);
  kern_return_t open_entry(ipc_task& caller, const requests::memory_entry_open& request,
                           attachment& file, replies::memory_entry_open& reply);
  kern_return_t range_of_entry(ipc_task& caller, const requests::memory_entry_range& request,
                               replies::memory_entry_range& reply);
  void call_as(std::uint64_t caller, const any_request& request, any_reply& reply, copyio& memory,
               attachment* file);
  void perform(ipc_task& caller, const any_request& request, any_reply& reply, copyio& memory);
  ref<ipc_task> create_task(ipc_task* parent, const requests::task_create& options);

  kernel kernel_;
  timer_service timers_{kernel_};
  const std::array<ref<port>, 2> clocks_;  // SYSTEM_CLOCK, CALENDAR_CLOCK
  ref<ipc_task> own_;
  embedded* abandoned_ = nullptr;  // the parent's, in a fork's child
};

}  // namespace kedge::mach::kernel
