// fault_points: the places where a call can fail for reasons that its caller does not control, and
// the plan that says which of these failures happen.
//
// A failure is caused, never only returned: the code at a point takes the branch that the real
// cause would take. So what a failed call consumes, gives back and notifies is what it always is.
// mach/kernel/README.md has the table: what each point does to which calls.
//
// Each place asks only where the failure is legal, so that every question counts as a passage.
// Without a plan a question is one load and one predicted branch. The fast path of mach_msg asks
// once whether there is a plan (plain_message.h).
//
// Threads: any thread may pass a point, and may hold any lock. A plan is set while no call is in
// progress.
#pragma once

#include <atomic>
#include <cstdint>

namespace kedge::mach::kernel {

enum class fault_point : std::uint32_t {
  // Class 1 of failed sends.
  message_memory,
  death_before,
  // Class 1, or class 2 in macOS 11.
  descriptor_memory,
  // Class 2.
  array_memory,
  sent_memory,
  sent_right,
  // Class 3.
  full_queue,
  queue_ceiling,
  interruption,
  // Class 4.
  death_during,
  death_after,
  // Receives, and the pseudo-receive of class 3.
  received_room,
  received_memory,
  // Names.
  no_name,
  name_reuse,
  // The other calls.
  port_memory,
  early_room,
  displaced_request,
};
inline constexpr std::uint32_t fault_point_count =
    static_cast<std::uint32_t>(fault_point::displaced_request) + 1;

// Which passages of which points are faults.
struct fault_rule {
  std::uint32_t points = 0;  // a bit for each fault_point; 0: there is no plan
  std::uint32_t one_in = 0;  // each passage is a fault with a chance of one in so many; 0: none is
  std::uint64_t nth = 0;     // this passage is a fault, counted from 1; 0: none is
  std::uint64_t seed = 0;    // for `one_in`
  std::uint64_t task = 0;    // only calls of this task pass; 0: of every task
};

// What has happened under a rule.
struct fault_counts {
  std::uint64_t passed = 0;
  std::uint32_t caused = 0;
  fault_point last{};  // the latest that was caused
};

class fault_points {
 public:
  fault_points() = default;
  fault_points(const fault_points&) = delete;
  fault_points& operator=(const fault_points&) = delete;

  // Begins to follow the rule. Returns what has happened under the one before.
  fault_counts plan(const fault_rule& rule) noexcept;

  bool planned() const noexcept { return planned_.load(std::memory_order_relaxed); }
  // Counts a passage by a call of the task. Returns true if the failure is to happen.
  bool happens(fault_point at, std::uint64_t task) noexcept {
    return planned() && decide(at, task);
  }

 private:
  bool decide(fault_point at, std::uint64_t task) noexcept;

  std::atomic<bool> planned_{false};
  fault_rule rule_;
  std::atomic<std::uint64_t> passed_{0};
  std::atomic<std::uint32_t> caused_{0};
  std::atomic<fault_point> last_{};
};

// The points as one task passes them.
class faults_of_task {
 public:
  // No fault happens.
  faults_of_task() = default;
  faults_of_task(fault_points& points, std::uint64_t task) noexcept
      : points_(&points), task_(task) {}

  bool planned() const noexcept { return points_ && points_->planned(); }
  bool happens(fault_point at) const noexcept { return points_ && points_->happens(at, task_); }

 private:
  fault_points* points_ = nullptr;
  std::uint64_t task_ = 0;
};

}  // namespace kedge::mach::kernel
