// The kernel inside the process that calls it: memory is copied directly, waits are futexes. One
// per process; the child of a fork starts with a new one, empty, and leaves the parent's alone: it
// takes none of its locks and runs none of its destructors.
#pragma once

#include "kedge/mach/kernel/core/binding.h"
#include "kedge/mach/kernel/core/ipc_task.h"
#include "kedge/mach/kernel/core/kernel.h"

namespace kedge::mach::kernel {

class embedded final : public binding {
 public:
  // This process's.
  static embedded& instance();

  void call(const request& what, reply& answer, copyio& memory) override;

  // The parts, for other ways to reach the same kernel (EVFILT_MACHPORT, the loopback of the
  // tests).
  class kernel& kernel() noexcept { return kernel_; }
  // Id 0 is the process's own task. Null: it has ended.
  ref<ipc_task> find(std::uint64_t id) noexcept { return id == 0 ? own_ : kernel_.find_task(id); }
  // The calls of extension.h, which are about tasks and the kernel itself, and those about files:
  // what only a process has. False: it is none of these.
  bool call_of_process(ipc_task& caller, const request& what, reply& answer, copyio& memory);

 private:
  embedded();
  ~embedded() = default;
  static embedded& make();

  bool call_of_files(ipc_task& caller, const request& what, reply& answer);
  bool call_of_memory(ipc_task& caller, const request& what, reply& answer);
  void call_as(const request& what, reply& answer, copyio& memory);
  void perform(ipc_task& caller, const request& what, reply& answer, copyio& memory);
  ref<ipc_task> create_task(ipc_task* parent, std::uint32_t first_ordered_index = 0);

  class kernel kernel_;
  ref<ipc_task> own_;
  embedded* abandoned_ = nullptr;  // the parent's, in a fork's child
};

}  // namespace kedge::mach::kernel
