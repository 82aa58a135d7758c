// Implements try_receive() with mach_msg(MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_LARGE).
#include "kedge/mach/try_receive.h"

#include <algorithm>
#include <new>
#include <utility>

#include "kedge/mach/error.h"

namespace kedge::mach {
namespace {

// The largest buffer that a receive needs.
std::size_t largest_buffer(const wanted_message& wanted) noexcept {
  return std::clamp(wanted.max, sizeof(mach_msg_header_t), largest_message) +
         REQUESTED_TRAILER_SIZE(receive_options(wanted));
}

}  // namespace

std::size_t bounded_buffer(std::size_t size, const wanted_message& wanted) noexcept {
  return std::min(size, largest_buffer(wanted));
}

mach_msg_return_t try_receive(mach_port_name_t name, std::size_t& expected_size, received& into,
                              const wanted_message& wanted) noexcept {
  received taken;
  const mach_msg_return_t code = receive_fast(name, expected_size, taken, wanted).code;
  if (code == MACH_MSG_SUCCESS) into = std::move(taken);
  return code;
}

kernel::receiving receive_on(received_buffer&& first, kernel::receiving outcome,
                             mach_port_name_t name, std::size_t& expected_size, received& into,
                             const wanted_message& wanted) noexcept {
  const mach_msg_option_t options = receive_options(wanted) | MACH_RCV_TIMEOUT;
  const std::size_t limit = largest_buffer(wanted);
  received_buffer buffer = std::move(first);
  std::size_t size = buffer.size();
  // With MACH_RCV_LARGE a message that does not fit stays queued. One that is larger than
  // `wanted.max` is received again without it, which destroys it. The buffer then is as large as
  // allowed: if another message is at the head of the queue by then, it fits or is too large
  // itself.
  mach_msg_option_t large = MACH_RCV_LARGE;
  for (;;) {
    outcome.code = without_shortage(outcome.code);
    if (outcome.code == MACH_RCV_TOO_LARGE && large != 0) {
      // msgh_size is the size that the message needs, without the trailer.
      const std::size_t needed = buffer.header().msgh_size;
      if (needed > std::max(wanted.max, sizeof(mach_msg_header_t))) large = 0;
      size = large == 0 ? limit : std::min(std::max(size * 2, needed + MAX_TRAILER_SIZE), limit);
    } else if (outcome.code != MACH_RCV_INTERRUPTED) {
      break;
    }
    try {
      buffer = received_buffer();
      buffer = received_buffer(size);
    } catch (const std::bad_alloc&) {
      return {KERN_RESOURCE_SHORTAGE, false};
    }
    outcome = kernel::receive(&buffer.header(), options | large, static_cast<mach_msg_size_t>(size),
                              name);
  }
  if (outcome.code == MACH_MSG_SUCCESS) {
    expected_size = std::size_t{buffer.header().msgh_size} + MAX_TRAILER_SIZE;
    into = received(std::move(buffer));
  } else if (outcome.code == MACH_RCV_BODY_ERROR) {
    const received released(std::move(buffer));
  }
  return outcome;
}

}  // namespace kedge::mach
