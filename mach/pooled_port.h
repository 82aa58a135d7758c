// pooled_port: the ports that the library keeps for itself between operations: of a space, of a
// loop, of a thread.
// pooled_port_name(): tells them from the program's, by the port's context.
//
//     const auto before = mach::kernel::take_snapshot();
//     run_the_test();
//     CHECK(mach::kernel::leaks_since(before, mach::pooled_port_name).empty());
//
// The context of a receive_right is its guard. The upper half of the guard says what the port is
// for, also in the report of a guard exception.
#pragma once

#include <mach/mach.h>

#include <cstdint>

namespace kedge::mach {

enum class pooled_port : std::uint32_t {
  none = 0x6b656467,           // "kedg": the program's
  notifications = 0x6b65646e,  // "kedn": space_notifications
  reply = 0x6b656472,          // "kedr": reply_port_cache, thread_reply_port
};

// Null for a port of the program.
constexpr const char* pooled_port_name(mach_port_context_t context) noexcept {
  switch (static_cast<pooled_port>(context >> 32)) {
    case pooled_port::notifications:
      return "kedge: notifications";
    case pooled_port::reply:
      return "kedge: reply port";
    default:
      return nullptr;
  }
}

}  // namespace kedge::mach
