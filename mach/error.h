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
  // The kernel has refused the message, and has consumed an unknown part of it. The rest is leaked,
  // since releasing it could release a right twice. Where memory for an array of rights was short
  // (MACH_SEND_NO_BUFFER) the rest is released.
  rights_lost,
  // The sender of a receive right can take it back, with all that is sent to it later: it has left
  // a port-destroyed request armed. Such a right is refused.
  revocable,
  // The right is empty: default-constructed, moved from, or the reply right of a message whose
  // sender expects no reply.
  empty_right,
  // The current space does not know the right's name: the right belongs to another space, or its
  // name was released by other code.
  wrong_space,
  // A message could not be copied out: the space has no room for its rights, or the process none
  // for its memory. The message is gone. receive() drops and counts it (receive_losses), unless
  // receive().telling_losses() asks; a call() has lost its reply.
  message_lost,
  // A message was larger than the receiver allows, and was destroyed. As above.
  message_too_large,
  // No service has this name.
  unknown_service,
  // The name belongs to another port or task.
  name_in_use,
  // The name server, or a sandbox, refuses the name to this program.
  not_privileged,
  // The reply to a typed request is not one of the kind that it should be.
  bad_reply,
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

// Removes the bits of MACH_MSG_MASK, which tell what the kernel has run short of, from a code of
// mach_msg. A code that has nothing else is an error too, and returned as it is.
inline mach_msg_return_t without_shortage(mach_msg_return_t code) noexcept {
  const mach_msg_return_t plain = code & ~MACH_MSG_MASK;
  return plain == MACH_MSG_SUCCESS ? code : plain;
}

// Throws std::system_error unless `code` is KERN_SUCCESS. `what` is the name of the call.
inline void check(kern_return_t code, const char* what) {
  if (code != KERN_SUCCESS) throw std::system_error(kern_error(code), what);
}

}  // namespace kedge::mach

template <>
struct std::is_error_code_enum<kedge::mach::errc> : std::true_type {};
