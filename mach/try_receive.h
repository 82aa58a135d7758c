// try_receive(): tries once to receive a message.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <new>
#include <system_error>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/received.h"
#include "kedge/mach/wanted_message.h"

namespace kedge::mach {

// The library never receives a message of more bytes than this, without the trailer.
inline constexpr std::size_t largest_message = 48u * 1024 * 1024;

// With these options a message is received as class received expects it.
constexpr mach_msg_option_t receive_options(const wanted_message& wanted) noexcept {
  return MACH_RCV_MSG | MACH_RCV_INTERRUPT | MACH_RCV_GUARDED_DESC |
         wanted.voucher * MACH_RCV_VOUCHER | MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) |
         static_cast<mach_msg_option_t>(wanted.trailer);
}

// Takes the next message from the receive right or port set `name`. Never blocks.
// `expected_size` is the number of bytes, trailer included, to allocate first. On success it is set
// to what this message needed.
// Returns mach_msg's code, as without_shortage() leaves it; `into` is assigned only with
// MACH_MSG_SUCCESS:
//   MACH_RCV_TIMED_OUT: no message is queued.
//   MACH_RCV_TOO_LARGE: the message was larger than `wanted.max`. It was destroyed, with its
//   rights. MACH_RCV_BODY_ERROR, MACH_RCV_HEADER_ERROR, MACH_RCV_INVALID_DATA: the kernel could
//   copy out
//     nothing, or only a part of the message. The message is gone and what was copied out is
//     released.
//   KERN_RESOURCE_SHORTAGE: no memory for the buffer. The message stays queued.
mach_msg_return_t try_receive(mach_port_name_t name, std::size_t& expected_size, received& into,
                              const wanted_message& wanted = {}) noexcept;

// For receive_fast(): the size that `wanted` allows.
std::size_t bounded_buffer(std::size_t size, const wanted_message& wanted) noexcept;
// For receive_fast(): does what follows from a receive into `first` that has failed.
kernel::receiving receive_on(received_buffer&& first, kernel::receiving outcome,
                             mach_port_name_t name, std::size_t& expected_size, received& into,
                             const wanted_message& wanted) noexcept;

// try_receive(), inline, with what the kernel says of the queue. Requires that `into` is empty.
[[gnu::always_inline]] inline kernel::receiving receive_fast(
    mach_port_name_t name, std::size_t& expected_size, received& into,
    const wanted_message& wanted) noexcept {
  std::size_t size = expected_size > usual_receive_size ? expected_size : usual_receive_size;
  if (size > wanted.max) [[unlikely]]
    size = bounded_buffer(size, wanted);
  try {
    received_buffer buffer(size);
    const mach_msg_option_t options = receive_options(wanted) | MACH_RCV_TIMEOUT | MACH_RCV_LARGE;
    const kernel::receiving outcome =
        kernel::receive(&buffer.header(), options, static_cast<mach_msg_size_t>(size), name);
    if (outcome.code == MACH_MSG_SUCCESS) [[likely]] {
      expected_size = std::size_t{buffer.header().msgh_size} + MAX_TRAILER_SIZE;
      into.begin(std::move(buffer));
      return outcome;
    }
    if (outcome.code == MACH_RCV_TIMED_OUT) return outcome;
    return receive_on(std::move(buffer), outcome, name, expected_size, into, wanted);
  } catch (const std::bad_alloc&) {
    return {KERN_RESOURCE_SHORTAGE, false};
  }
}

// Returns true if a message was lost, and the queue behind it can be received.
inline bool is_loss(mach_msg_return_t code) noexcept {
  return code == MACH_RCV_TOO_LARGE || code == MACH_RCV_BODY_ERROR ||
         code == MACH_RCV_HEADER_ERROR || code == MACH_RCV_INVALID_DATA;
}

// Returns the error that a failed receive gives its caller.
inline std::error_code receive_error(mach_msg_return_t code) noexcept {
  if (code == MACH_RCV_TOO_LARGE) return errc::message_too_large;
  return is_loss(code) ? make_error_code(errc::message_lost) : msg_error(code);
}

}  // namespace kedge::mach
