// profile: the version of Darwin whose answers the kernel gives. There is one named condition for
// each known difference between xnu-7195 (macOS 11) and xnu-11417 (macOS 15). The one place where
// the difference matters asks the condition; no other code looks at a version.
//
// The words before the colons are the tags that the recordings of tests/conformance give the
// differences.
#pragma once

#include <cstdint>

namespace kedge::mach::kernel {

class profile {
 public:
  enum class os_version : std::uint8_t { macos11, macos15 };

  constexpr profile(os_version version) noexcept : version_(version) {}

  // set-order: the member of a set that was served goes behind the others.
  constexpr bool serves_members_in_turn() const noexcept { return newer(); }
  // move_member-null: mach_port_move_member to no set fails for a port that is in no set.
  constexpr bool wants_a_set_to_leave() const noexcept { return newer(); }
  // destroy-order: a dying port's messages are destroyed before its no-senders right is released.
  constexpr bool destroys_messages_first() const noexcept { return newer(); }
  // receive-deadname-guard: a receive from a dead name raises a guard exception.
  constexpr bool raises_for_receive_from_dead_name() const noexcept { return older(); }
  // deadname-sync: a dead-name request with sync fires at once if the name is dead already.
  constexpr bool fires_for_dead_names() const noexcept { return older(); }
  // flavor: MACH_PORT_SERVICE_THROTTLED is an attribute.
  constexpr bool knows_service_throttling() const noexcept { return newer(); }
  // flavor: MACH_PORT_DNREQUESTS_SIZE grows the port's table of requests. Later it has no effect.
  constexpr bool grows_request_tables() const noexcept { return older(); }
  // rename: mach_port_rename reaches a routine, which refuses. Later there is no routine.
  constexpr bool knows_rename() const noexcept { return older(); }
  // construct-flags: service, connection, reply and exception ports are known.
  constexpr bool knows_kinds_of_ports() const noexcept { return newer(); }
  // descriptor-checks-first: descriptors are checked before anything is taken.
  constexpr bool checks_descriptors_first() const noexcept { return newer(); }
  // oolp-copy: the copy option of an array of ports is ignored.
  constexpr bool ignores_copy_option_of_arrays() const noexcept { return newer(); }
  // large-small-buffer: the smallest buffer that MACH_RCV_LARGE writes the needed size to.
  constexpr std::uint32_t smallest_buffer_for_size() const noexcept { return older() ? 16 : 8; }
  // tiny-receive-buffer: the error for a too large message is not written past the buffer's end.
  constexpr bool respects_tiny_buffers() const noexcept { return newer(); }
  // voucher-order: the voucher's disposition is checked before the destination.
  constexpr bool checks_voucher_before_destination() const noexcept { return newer(); }
  // dest-before-reply: whether the destination is a right to a port is checked before the reply
  // port.
  constexpr bool checks_destination_before_reply() const noexcept { return newer(); }
  // reply-deadname: a dead name is refused as reply port.
  constexpr bool refuses_dead_reply() const noexcept { return newer(); }
  // guard-code: releasing a guarded receive right by mach_port_mod_refs raises another code than
  // destroying it.
  constexpr bool has_mod_refs_code() const noexcept { return older(); }
  // No tag: a name that the caller chooses must have the generation bits of all names
  // (ipc_entry_alloc_name).
  constexpr bool checks_generation_bits() const noexcept { return newer(); }
  // No tag: an array of ports needs memory of its own, and the send fails without it. Since
  // xnu-11215 the kernel does not look whether it has got the memory.
  constexpr bool lacks_memory_for_arrays() const noexcept { return older(); }
  // No tag: mach_port_extract_member reports KERN_NOT_IN_SET when a port leaves one of several sets
  // (macos11_set_chain.h).
  constexpr bool loses_extracted_members() const noexcept { return older(); }

 private:
  constexpr bool older() const noexcept { return version_ == os_version::macos11; }
  constexpr bool newer() const noexcept { return version_ == os_version::macos15; }

  os_version version_;
};

}  // namespace kedge::mach::kernel
