#include "kedge/mach/receive_result.h"

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

constexpr std::size_t smallest_block = 512;

}  // namespace

mach_msg_return_t receive_now(mach_port_name_t name, std::size_t& expected,
                              received& into) noexcept {
  std::size_t size = std::max(expected, smallest_block);
  for (;;) {
    block buffer;
    try {
      buffer = block(size);
    } catch (const std::bad_alloc&) {
      return KERN_RESOURCE_SHORTAGE;
    }
    mach_msg_header_t& header = buffer.header();
    const mach_msg_return_t code =
        mach_msg(&header, options, 0, static_cast<mach_msg_size_t>(size), name, 0, MACH_PORT_NULL);
    const mach_msg_return_t plain_code = code & ~MACH_MSG_MASK;
    if (plain_code == MACH_RCV_INTERRUPTED) continue;
    if (plain_code == MACH_RCV_TOO_LARGE) {
      // It stays queued, and the header says what it needs, trailer excluded.
      size = std::max(size * 2, std::size_t{header.msgh_size} + MAX_TRAILER_SIZE);
      continue;
    }
    if (plain_code == MACH_MSG_SUCCESS) {
      expected = std::size_t{header.msgh_size} + MAX_TRAILER_SIZE;
      into = received(std::move(buffer));
    } else if (plain_code == MACH_RCV_BODY_ERROR) {
      const received released(std::move(buffer));
    }
    return plain_code;
  }
}

}  // namespace kedge::mach
