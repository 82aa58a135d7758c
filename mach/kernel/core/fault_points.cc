// Counts the passages of fault points, and chooses those that are faults.
#include "kedge/mach/kernel/core/fault_points.h"

namespace kedge::mach::kernel {
namespace {

// Draws the number that belongs to an index (splitmix64).
std::uint64_t drawn(std::uint64_t seed, std::uint64_t index) noexcept {
  std::uint64_t mixed = seed + index * 0x9e3779b97f4a7c15u;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
  return mixed ^ (mixed >> 31);
}

}  // namespace

fault_counts fault_points::plan(const fault_rule& rule) noexcept {
  const fault_counts before{passed_.exchange(0), caused_.exchange(0), last_.load()};
  rule_ = rule;
  planned_.store(rule.points != 0, std::memory_order_release);
  return before;
}

bool fault_points::decide(fault_point at, std::uint64_t task) noexcept {
  std::atomic_thread_fence(std::memory_order_acquire);
  if ((rule_.points >> static_cast<std::uint32_t>(at) & 1) == 0) return false;
  if (rule_.task != 0 && rule_.task != task) return false;
  const std::uint64_t passage = passed_.fetch_add(1, std::memory_order_relaxed) + 1;
  const bool by_chance = rule_.one_in != 0 && drawn(rule_.seed, passage) % rule_.one_in == 0;
  if (passage != rule_.nth && !by_chance) return false;
  caused_.fetch_add(1, std::memory_order_relaxed);
  last_.store(at, std::memory_order_relaxed);
  return true;
}

}  // namespace kedge::mach::kernel
