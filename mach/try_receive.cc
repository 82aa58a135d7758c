// Implements try_receive() with mach_msg(MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_LARGE).
#include "kedge/mach/try_receive.h"

#include <algorithm>
#include <new>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/kernel/extension.h"

namespace kedge::mach {
namespace {

constexpr std::size_t smallest_buffer = 512;

}  // namespace

mach_msg_return_t try_receive(mach_port_name_t name, std::size_t& expected_size, received& into,
                              const wanted_message& wanted, bool* emptied) noexcept {
  const mach_msg_option_t options = receive_options(wanted) | MACH_RCV_TIMEOUT;
  const std::size_t max = std::clamp(wanted.max, sizeof(mach_msg_header_t), largest_message);
  const std::size_t limit = max + REQUESTED_TRAILER_SIZE(options);
  std::size_t size = std::min(std::max(expected_size, smallest_buffer), limit);
  // With MACH_RCV_LARGE a message that does not fit stays queued. One that is larger than `max` is
  // received again without it, which destroys it. The buffer then is as large as `max` allows: if
  // another message is at the head of the queue by then, it fits or is too large itself.
  mach_msg_option_t large = MACH_RCV_LARGE;
  for (;;) {
    message_buffer buffer;
    try {
      buffer = message_buffer(size);
    } catch (const std::bad_alloc&) {
      return KERN_RESOURCE_SHORTAGE;
    }
    mach_msg_header_t& header = buffer.header();
    const kernel::receiving outcome =
        kernel::receive(&header, options | large, static_cast<mach_msg_size_t>(size), name);
    const mach_msg_return_t code = without_shortage(outcome.code);
    if (code == MACH_RCV_INTERRUPTED) continue;
    if (code == MACH_RCV_TOO_LARGE && large != 0) {
      // msgh_size is the size that the message needs, without the trailer.
      const std::size_t needed = header.msgh_size;
      if (needed > max) large = 0;
      size = needed > max ? limit : std::min(std::max(size * 2, needed + MAX_TRAILER_SIZE), limit);
      continue;
    }
    if (code == MACH_MSG_SUCCESS) {
      expected_size = std::size_t{header.msgh_size} + MAX_TRAILER_SIZE;
      into.take_over(std::move(buffer));
      if (emptied != nullptr) *emptied = outcome.emptied;
    } else if (code == MACH_RCV_BODY_ERROR) {
      const received released(std::move(buffer));
    }
    return code;
  }
}

}  // namespace kedge::mach
