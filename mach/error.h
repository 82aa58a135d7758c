// The errors of Mach as std::error_code.
//
// Two categories hold the kernel's codes as they are: "mach.kern" for kern_return_t, "mach.msg" for
// mach_msg_return_t. What ends an operation of this library in normal use is an errc (category
// "kedge.mach"), whatever code the kernel has for it. Misuse and exhaustion of resources throw
// std::system_error with a kern_return_t, unless a declaration says otherwise.
#pragma once

#include <mach/mach.h>

#include <system_error>

namespace kedge::mach {

enum class errc {
  peer_died = 1,  // the destination of a send has no receiver any more
  no_reply,       // the peer has dropped the reply right, or died with the request
  queue_full,     // the destination's queue has no room (try_send only)
  rights_lost,  // the kernel refused a right or memory in the message, and has consumed an unknown
                // part of it; the rest is leaked rather than released twice
};

const std::error_category& kern_category() noexcept;
const std::error_category& msg_category() noexcept;
const std::error_category& mach_category() noexcept;

inline std::error_code make_error_code(errc e) noexcept {
  return {static_cast<int>(e), mach_category()};
}
inline std::error_code kern_error(kern_return_t code) noexcept {
  return {code, kern_category()};
}
inline std::error_code msg_error(mach_msg_return_t code) noexcept {
  return {code, msg_category()};
}

// Throws std::system_error unless `code` is KERN_SUCCESS. `what` names the call.
inline void check(kern_return_t code, const char* what) {
  if (code != KERN_SUCCESS) throw std::system_error(kern_error(code), what);
}

}  // namespace kedge::mach

template <>
struct std::is_error_code_enum<kedge::mach::errc> : std::true_type {};
