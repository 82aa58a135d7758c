// Implements try_receive() with mach_msg(MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_LARGE).
#include "kedge/mach/try_receive.h"

#include <algorithm>
#include <new>
#include <utility>

#include "kedge/mach/error.h"

namespace kedge::mach {
namespace {

constexpr mach_msg_option_t options = MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_LARGE |
                                      MACH_RCV_INTERRUPT |
                                      MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) |
                                      MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT);

constexpr std::size_t smallest_buffer = 512;

}  // namespace

mach_msg_return_t try_receive(mach_port_name_t name, std::size_t& expected_size,
                              received& into) noexcept {
  std::size_t size = std::max(expected_size, smallest_buffer);
  for (;;) {
    message_buffer buffer;
    try {
      buffer = message_buffer(size);
    } catch (const std::bad_alloc&) {
      return KERN_RESOURCE_SHORTAGE;
    }
    mach_msg_header_t& header = buffer.header();
    const mach_msg_return_t code =
        mach_msg(&header, options, 0, static_cast<mach_msg_size_t>(size), name, 0, MACH_PORT_NULL);
    const mach_msg_return_t plain_code = code & ~MACH_MSG_MASK;
    if (plain_code == MACH_RCV_INTERRUPTED) continue;
    if (plain_code == MACH_RCV_TOO_LARGE) {
      // The message stays queued, and msgh_size is the size that it needs, without the trailer.
      size = std::max(size * 2, std::size_t{header.msgh_size} + MAX_TRAILER_SIZE);
      continue;
    }
    if (plain_code == MACH_MSG_SUCCESS) {
      expected_size = std::size_t{header.msgh_size} + MAX_TRAILER_SIZE;
      into = received(std::move(buffer));
    } else if (plain_code == MACH_RCV_BODY_ERROR) {
      const received released(std::move(buffer));
    }
    return plain_code;
  }
}

}  // namespace kedge::mach
