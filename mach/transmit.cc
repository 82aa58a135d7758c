// Implements transmit() with mach_msg(MACH_SEND_MSG | MACH_SEND_TIMEOUT).
#include "kedge/mach/transmit.h"

#include <cstring>

namespace kedge::mach {
namespace {

constexpr mach_msg_option_t options = MACH_SEND_MSG | MACH_SEND_TIMEOUT | MACH_SEND_INTERRUPT;

// Returns true if the kernel has consumed a part of the message, or all of it, without sending it.
bool consumed_in_part(mach_msg_return_t code) noexcept {
  switch (code) {
    case MACH_SEND_INVALID_RIGHT:
    case MACH_SEND_INVALID_MEMORY:
    case MACH_SEND_INVALID_RT_OOL_SIZE:
    case MACH_SEND_INVALID_TYPE:  // before xnu-10063.141
    case MACH_SEND_NO_GRANT_DEST:
    case MACH_SEND_MSG_FILTERED:
      return true;
    default:
      return false;
  }
}

}  // namespace

send_result transmit(message& m, mach_port_name_t to, mach_msg_type_name_t disposition) noexcept {
  mach_msg_header_t& header = m.buffer_.header();
  const std::size_t size = round_msg(m.size_);
  std::memset(m.buffer_.data() + m.size_, 0, size - m.size_);
  const mach_msg_bits_t complex = m.rights_ != 0 ? MACH_MSGH_BITS_COMPLEX : 0u;
  header.msgh_bits = complex | MACH_MSGH_BITS(disposition, MACH_MSGH_BITS_LOCAL(header.msgh_bits));
  header.msgh_size = static_cast<mach_msg_size_t>(size);
  header.msgh_remote_port = to;

  mach_msg_return_t code;
  do {
    code = mach_msg(&header, options, static_cast<mach_msg_size_t>(size), 0, MACH_PORT_NULL, 0,
                    MACH_PORT_NULL);
    code &= ~MACH_MSG_MASK;
    // After an interruption the kernel has put the message back, and the header holds the names and
    // dispositions to send it with again.
  } while (code == MACH_SEND_INTERRUPTED);

  send_result result{code, {}};
  if (code == MACH_MSG_SUCCESS || consumed_in_part(code)) {
    const message_buffer consumed = std::move(m.buffer_);
    m.size_ = m.rights_ = 0;
    return result;
  }
  // The kernel consumed nothing, or gave everything back. In both cases the buffer names what the
  // caller owns.
  const mach_msg_type_name_t returned = MACH_MSGH_BITS_REMOTE(header.msgh_bits);
  if (returned == MACH_MSG_TYPE_MOVE_SEND || returned == MACH_MSG_TYPE_MOVE_SEND_ONCE) {
    result.destination = send_right::adopt(header.msgh_remote_port);
  }
  header.msgh_remote_port = MACH_PORT_NULL;
  header.msgh_bits = MACH_MSGH_BITS(0u, MACH_MSGH_BITS_LOCAL(header.msgh_bits));
  return result;
}

}  // namespace kedge::mach
