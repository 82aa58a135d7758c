// errc, kern_error(), msg_error(): Mach's errors as std::error_code.
//
// Two categories hold the kernel's codes unchanged: "mach.kern" for kern_return_t, "mach.msg" for
// mach_msg_return_t. Errors that are part of normal use are an errc (category "kedge.mach"),
// whatever code the kernel has for them. Misuse and a lack of resources throw std::system_error
// with a kern_return_t, unless a declaration says otherwise.
#pragma once

#include <mach/mach.h>

#include <system_error>

namespace kedge::mach {

enum class errc {
  // The destination of a send has no receiver any more.
  peer_died = 1,
  // The peer has destroyed the reply right, or has died with the request.
  no_reply,
  // The destination's queue has no room (try_send only).
  queue_full,
  // The kernel has refused a right or memory in the message, and has consumed an unknown part of
  // the message. The rest is leaked, since releasing it could release a right twice.
  rights_lost,
  // The sender of a receive right can take it back, with all that is sent to it later: it has left
  // a port-destroyed request armed. Such a right is refused.
  revocable,
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

// Throws std::system_error unless `code` is KERN_SUCCESS. `what` is the name of the call.
inline void check(kern_return_t code, const char* what) {
  if (code != KERN_SUCCESS) throw std::system_error(kern_error(code), what);
}

}  // namespace kedge::mach

template <>
struct std::is_error_code_enum<kedge::mach::errc> : std::true_type {};
