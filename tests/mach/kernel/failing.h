// failing, in_each_profile(), peer: make calls fail at fault points
// (kedge/mach/kernel/extension.h).
#pragma once

#include <doctest/doctest.h>

#include <cstdint>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

namespace test {

using namespace kedge::mach::kernel;

// On Darwin there are no fault points.
inline const auto with_faults = doctest::skip(!has_many_tasks());

// Fails the nth passage of one point until the end of the scope.
class failing {
 public:
  explicit failing(fault point, std::uint64_t nth = 1) : point_(point) {
    plan_faults({.points = fault_plan::only(point), .nth = nth});
  }
  ~failing() { end(); }
  failing(const failing&) = delete;
  failing& operator=(const failing&) = delete;

  // Ends the plan. Returns true if the point has failed once.
  bool end() {
    if (!is_planned_) return false;
    is_planned_ = false;
    const fault_tally tally = end_faults();
    return tally.caused == 1 && tally.last == point_;
  }

 private:
  const fault point_;
  bool is_planned_ = true;
};

// Runs the test in the profile of macOS 11 and then in that of macOS 15.
template <typename Test>
void in_each_profile(Test run) {
  for (const kernel_profile profile : {kernel_profile::macos11, kernel_profile::macos15}) {
    CAPTURE(static_cast<int>(profile));
    set_kernel_profile(profile);
    run(profile);
  }
  set_kernel_profile(kernel_profile::macos15);
}

// A task with a port, to which the current task has a send right.
class peer {
 public:
  peer() : task_(create_task()) {
    const mach_port_t self = task_self_port(task_);
    REQUIRE(mach_port_allocate(self, MACH_PORT_RIGHT_RECEIVE, &there) == KERN_SUCCESS);
    mach_msg_type_name_t type = 0;
    REQUIRE(mach_port_extract_right(self, there, MACH_MSG_TYPE_MAKE_SEND, &to, &type) ==
            KERN_SUCCESS);
    REQUIRE(mach_port_deallocate(mach_task_self(), self) == KERN_SUCCESS);
  }
  ~peer() {
    terminate_task(task_);
    mach_port_deallocate(mach_task_self(), to);
  }
  peer(const peer&) = delete;
  peer& operator=(const peer&) = delete;

  bool has_ended() const { return task_self_port(task_) == MACH_PORT_DEAD; }

  mach_port_t to = MACH_PORT_NULL;
  mach_port_name_t there = MACH_PORT_NULL;

 private:
  const task task_;
};

}  // namespace test
