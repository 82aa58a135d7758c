// Implements transmit() with mach_msg(MACH_SEND_MSG | MACH_SEND_TIMEOUT).
#include "kedge/mach/transmit.h"

#include <cstring>
#include <new>

#include "kedge/mach/error.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/message_retention.h"
#include "kedge/mach/right_in_message.h"

namespace kedge::mach {
namespace {

constexpr mach_msg_option_t options = transmit_options;

// Returns true if the kernel checks the descriptors of a message before it takes anything out of
// the space, as kernels do since xnu-10063.141. Asks the kernel: a message with an unknown
// descriptor consumes the right that it is sent by, or does not. Called only after a failure that
// well-formed messages do not have.
bool checks_descriptors_first() noexcept {
  mach_port_name_t port = MACH_PORT_NULL;
  if (mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port) != KERN_SUCCESS) {
    return false;  // a leak is better than a right that is released twice
  }
  mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND);
  struct {
    mach_msg_base_t base;
    mach_msg_type_descriptor_t unknown;
  } m{};
  m.base.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND, 0u) | MACH_MSGH_BITS_COMPLEX;
  m.base.header.msgh_remote_port = port;
  m.base.body.msgh_descriptor_count = 1;
  m.unknown.type = 0xff;
  mach_msg(&m.base.header, options, sizeof m, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
  mach_port_urefs_t rights = 0;
  mach_port_get_refs(mach_task_self(), port, MACH_PORT_RIGHT_SEND, &rights);
  mach_port_destruct(mach_task_self(), port, -static_cast<mach_port_delta_t>(rights), 0);
  return rights != 0;
}

bool is_dead(mach_port_name_t name) noexcept {
  mach_port_type_t type = MACH_PORT_TYPE_NONE;
  return mach_port_type(mach_task_self(), name, &type) == KERN_SUCCESS &&
         (type & MACH_PORT_TYPE_DEAD_NAME) != 0;
}

}  // namespace

// Calls mach_msg with a message, and finds out what the call has left of it.
class message_transmission {
 public:
  message_transmission(message& m, mach_msg_size_t size, blocking_trap* trap) noexcept
      : m_(m), trap_(trap), size_(size) {}

  // Sends the message.
  send_result run() noexcept {
    drop_dead_reply();
    return finish(transmit());
  }
  // Does what follows from the first call of the kernel, which gave `first`.
  send_result finish(mach_msg_return_t first) noexcept {
    mach_msg_return_t code = send_until_done(first);
    // The reply port has died since. Nothing was consumed.
    if (code == MACH_SEND_INVALID_REPLY && drop_dead_reply()) code = send_until_done(transmit());
    send_result result{code};
    // A message_retention has cleared a message of which a part was consumed.
    if (m_ &&
        (code == MACH_MSG_SUCCESS || (m_.parts().has_array ? consumed_ : was_consumed(code)))) {
      m_.forget();
    }
    if (!m_) {
      result.awakened = awakened_;
      return result;
    }
    // The kernel consumed nothing, or gave everything back. In both cases the buffer names what the
    // caller owns.
    mach_msg_header_t& header = m_.buffer_.header();
    const mach_msg_type_name_t returned = MACH_MSGH_BITS_REMOTE(header.msgh_bits);
    if (returned == MACH_MSG_TYPE_MOVE_SEND || returned == MACH_MSG_TYPE_MOVE_SEND_ONCE) {
      result.returned = header.msgh_remote_port;
    }
    header.msgh_remote_port = MACH_PORT_NULL;
    m_.set_bits(m_.reply_disposition(), m_.voucher_disposition());
    if (came_back_short_) m_.clear();
    return result;
  }

 private:
  // A dead reply right is refused since macOS 15, and ends a hardened task. Sends none in its
  // place. Returns true if there was one. A right that the kernel makes, or none, costs no call.
  bool drop_dead_reply() noexcept {
    mach_msg_header_t& header = m_.buffer_.header();
    if (!outgoing::has_own_reply(m_) || !is_dead(header.msgh_local_port)) return false;
    release_right_in_message(header.msgh_local_port, m_.reply_disposition());
    header.msgh_local_port = MACH_PORT_NULL;
    header.msgh_bits &= ~mach_msg_bits_t{MACH_MSGH_BITS_LOCAL_MASK};
    return true;
  }

  mach_msg_return_t call_kernel() noexcept {
    mach_msg_header_t& header = m_.buffer_.header();
    header.msgh_size = 0;
    const kernel::sending sent = trap_ != nullptr
                                     ? kernel::sending{trap_->send(header, size_), MACH_PORT_NULL}
                                     : kernel::send(&header, options, size_);
    awakened_ = sent.awakened;
    return sent.code;
  }

  // call_kernel() with a message that has an array.
  [[gnu::noinline]] mach_msg_return_t call_kernel_with_array() noexcept {
    try {
      message_retention own(m_);
      // What was sent as a copy is not to be kept until the reply has come.
      if (trap_ != nullptr) trap_->split();
      const mach_msg_return_t code = call_kernel();
      const mach_msg_return_t plain = without_shortage(code);
      consumed_ = was_consumed(plain);
      if (plain == MACH_MSG_SUCCESS || is_given_back(plain) || consumed_) {
        own.release();
      } else {
        own.restore(m_);
      }
      return code;
    } catch (const std::bad_alloc&) {
      consumed_ = false;
      return MACH_SEND_NO_BUFFER;
    }
  }

  mach_msg_return_t transmit() noexcept {
    return m_.parts().has_array ? call_kernel_with_array() : call_kernel();
  }

  // `code` is that of the call before.
  mach_msg_return_t send_until_done(mach_msg_return_t code) noexcept {
    for (;; code = transmit()) {
      const mach_msg_return_t plain = without_shortage(code);
      came_back_short_ = code != plain && is_given_back(plain);
      // After an interruption the kernel has put the message back, and the header holds the names
      // and dispositions to send it with again.
      if (plain != MACH_SEND_INTERRUPTED || came_back_short_) return plain;
    }
  }

  // Returns true if the kernel has consumed a part of the message, or all of it, without sending
  // it.
  bool was_consumed(mach_msg_return_t code) const noexcept {
    if ((code & ~MACH_MSG_MASK) == 0) return true;  // MACH_MSG_VM_KERNEL and its like
    switch (code) {
      case MACH_SEND_INVALID_RIGHT:
      case MACH_SEND_INVALID_MEMORY:
      case MACH_SEND_INVALID_RT_OOL_SIZE:
      case MACH_SEND_NO_GRANT_DEST:
      case MACH_SEND_MSG_FILTERED:
        return true;
      case MACH_SEND_INVALID_TYPE:
      case MACH_SEND_MSG_TOO_SMALL:
      case MACH_SEND_TOO_LARGE:
        // A message without descriptors, and one that is larger than 48 MiB, is refused before
        // anything is taken.
        return m_.parts().descriptors != 0 && !checks_descriptors_first();
      default:
        return false;
    }
  }

  // Returns true if the kernel has put the message back into the buffer.
  bool is_given_back(mach_msg_return_t code) const noexcept {
    return code == MACH_SEND_TIMED_OUT || code == MACH_SEND_INTERRUPTED ||
           (code == MACH_SEND_NO_BUFFER && m_.buffer_.header().msgh_size != 0);
  }

  message& m_;
  blocking_trap* const trap_;  // null: never blocks
  const mach_msg_size_t size_;
  mach_port_name_t awakened_ = MACH_PORT_NULL;
  // The space had no room for all names or for the memory of a message that was given back: the
  // kernel has destroyed the rest.
  bool came_back_short_ = false;
  // Of a message with an array: what was_consumed() said, which may ask the kernel and must be
  // asked once, since the rights were released or kept by its answer.
  bool consumed_ = false;
};

send_result transmit(message& m, mach_port_name_t to, mach_msg_type_name_t disposition,
                     blocking_trap* trap) noexcept {
  const mach_msg_size_t size = outgoing::address(m, to, disposition);
  return message_transmission(m, size, trap).run();
}

send_result finish_plain(message& m, mach_msg_size_t size, mach_msg_return_t code) noexcept {
  return message_transmission(m, size, nullptr).finish(code);
}

}  // namespace kedge::mach
