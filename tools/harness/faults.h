// faults: what world::may_fail() and world::fail() can let happen to a process.
//
//     w.may_fail(client, faults::full_queue | faults::interrupted);
//     w.fail(client, faults::descriptor(2), 4);  // of its 4th call the 2nd right is bad
//
// A fault of a call is caused inside the kernel, where it is legal (mach/kernel/README.md). The
// others are what a scheduler may do.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kedge/mach/kernel/extension.h"

namespace kedge::harness {

class fault_set {
 public:
  constexpr fault_set() noexcept = default;
  // Points of the kernel, as mach::kernel::fault_plan has them.
  constexpr fault_set(std::uint32_t points) noexcept : bits_(points) {}

  friend constexpr fault_set operator|(fault_set a, fault_set b) noexcept {
    a.bits_ |= b.bits_;
    return a;
  }
  friend constexpr fault_set operator&(fault_set a, fault_set b) noexcept {
    a.bits_ &= b.bits_;
    return a;
  }
  friend constexpr fault_set operator-(fault_set a, fault_set b) noexcept {
    a.bits_ &= ~b.bits_;
    return a;
  }
  constexpr bool is_empty() const noexcept { return bits_ == 0; }
  constexpr bool has(fault_set f) const noexcept { return (bits_ & f.bits_) != 0; }
  // Its points of the kernel.
  constexpr std::uint32_t points() const noexcept {
    return static_cast<std::uint32_t>(bits_ & ~std::uint32_t{0});
  }
  // Which passage of a point fails, counted from 1.
  constexpr std::uint32_t nth() const noexcept { return nth_; }

  static constexpr fault_set of(mach::kernel::fault point, std::uint32_t nth = 1) noexcept {
    fault_set made(mach::kernel::fault_plan::only(point));
    made.nth_ = nth;
    return made;
  }
  static constexpr fault_set of_scheduler(unsigned index) noexcept {
    fault_set made;
    made.bits_ = std::uint64_t{1} << (32 + index);
    return made;
  }

 private:
  std::uint64_t bits_ = 0;
  std::uint32_t nth_ = 1;
};

namespace faults {

// Sends that consume nothing (class 1).
inline constexpr fault_set no_buffer = fault_set::of(mach::kernel::fault::message_memory) |
                                       fault_set::of(mach::kernel::fault::descriptor_memory);
// Sends that consume a part (class 2): the first right, or the k-th, is bad; the memory is.
inline constexpr fault_set bad_descriptor = fault_set::of(mach::kernel::fault::sent_right);
constexpr fault_set descriptor(std::uint32_t k) noexcept {
  return fault_set::of(mach::kernel::fault::sent_right, k);
}
inline constexpr fault_set bad_memory = fault_set::of(mach::kernel::fault::sent_memory) |
                                        fault_set::of(mach::kernel::fault::array_memory);
// Sends whose message comes back (class 3), and an interrupted receive.
inline constexpr fault_set full_queue = fault_set::of(mach::kernel::fault::full_queue) |
                                        fault_set::of(mach::kernel::fault::queue_ceiling);
inline constexpr fault_set interrupted = fault_set::of(mach::kernel::fault::interruption);
// Sends that succeed though nobody gets the message (class 4): its receiver dies in the call.
inline constexpr fault_set destroyed_after_success =
    fault_set::of(mach::kernel::fault::death_during);
inline constexpr fault_set peer_dies_before = fault_set::of(mach::kernel::fault::death_before);
inline constexpr fault_set peer_dies_after = fault_set::of(mach::kernel::fault::death_after);
// Receives that lose out-of-line memory or rights.
inline constexpr fault_set no_room = fault_set::of(mach::kernel::fault::received_room) |
                                     fault_set::of(mach::kernel::fault::received_memory);
inline constexpr fault_set no_names = fault_set::of(mach::kernel::fault::no_name);
inline constexpr fault_set no_memory = fault_set::of(mach::kernel::fault::port_memory);
inline constexpr fault_set name_reused = fault_set::of(mach::kernel::fault::name_reuse);
inline constexpr fault_set early_send_possible = fault_set::of(mach::kernel::fault::early_room);
inline constexpr fault_set displaced_request =
    fault_set::of(mach::kernel::fault::displaced_request);
// In one step the process can open no file descriptor.
inline constexpr fault_set no_descriptors = fault_set::of_scheduler(0);
// Others run some steps first.
inline constexpr fault_set slow = fault_set::of_scheduler(1);
// It does not run for some time.
inline constexpr fault_set suspended = fault_set::of_scheduler(2);
// Its time-out comes though others could run before.
inline constexpr fault_set early_timeout = fault_set::of_scheduler(3);

inline constexpr fault_set peer_dies = peer_dies_before | destroyed_after_success | peer_dies_after;
inline constexpr fault_set all = no_buffer | bad_descriptor | bad_memory | full_queue |
                                 interrupted | peer_dies | no_room | no_names | no_memory |
                                 name_reused | early_send_possible | displaced_request |
                                 no_descriptors | slow | suspended | early_timeout;

}  // namespace faults

// The faults by their names: what the report prints, and what a seed switches on one by one.
const std::vector<std::pair<const char*, fault_set>>& fault_menu();
// "full queue, interrupted"
std::string to_string(fault_set f);
// What a fault point of the kernel has done.
std::string to_string(mach::kernel::fault point);

}  // namespace kedge::harness
