// How old the kernel is whose answers are given: one named condition for each known difference
// between xnu-7195 (macOS 11) and xnu-11417 (macOS 15). Each is asked in the one place where it
// matters, and nowhere else is a version looked at.
#pragma once

#include <cstdint>

namespace kedge::mach::kernel {

class profile {
 public:
  enum class age : std::uint8_t { macos11, macos15 };

  constexpr profile(age of) noexcept : age_(of) {}

  // mach_port_rename reaches a routine, which refuses; later there is none.
  constexpr bool knows_rename() const noexcept { return older(); }
  // construct-flags: service, connection, reply and exception ports are known.
  constexpr bool knows_kinds_of_ports() const noexcept { return !older(); }
  // voucher-order: the voucher's disposition is looked at before the destination.
  constexpr bool checks_voucher_before_destination() const noexcept { return !older(); }
  // dest-before-reply: so is whether the destination is a port's right, before the reply port.
  constexpr bool checks_destination_before_reply() const noexcept { return !older(); }
  // reply-deadname: a dead name is no reply port.
  constexpr bool refuses_dead_reply() const noexcept { return !older(); }
  // descriptor-checks-first: descriptors are checked before anything is taken.
  constexpr bool checks_descriptors_first() const noexcept { return !older(); }
  // oolp-copy: the copy option of an array of ports is of no concern.
  constexpr bool ignores_copy_option_of_arrays() const noexcept { return !older(); }
  // large-small-buffer: with MACH_RCV_LARGE, the buffer that the needed size is written to.
  constexpr std::uint32_t smallest_buffer_for_size() const noexcept { return older() ? 16 : 8; }
  // tiny-receive-buffer: a message too large is not written past the end of the buffer.
  constexpr bool respects_tiny_buffers() const noexcept { return !older(); }

 private:
  constexpr bool older() const noexcept { return age_ == age::macos11; }

  age age_;
};

}  // namespace kedge::mach::kernel
