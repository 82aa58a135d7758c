// reply_right: the right to reply to a message: send-once or send, as the sender of the message
// chose.
#pragma once

#include <mach/mach.h>

#include <cstdint>
#include <utility>

#include "kedge/mach/send_once_right.h"
#include "kedge/mach/send_right.h"

namespace kedge::mach {

class reply_right {
 public:
  // Empty: the sender expects no reply, or its reply port has died. Replying by it gives
  // errc::empty_right, or errc::peer_died if it was adopted dead.
  reply_right() = default;
  explicit reply_right(send_right&& right) noexcept : send_(std::move(right)) {}
  explicit reply_right(send_once_right&& right) noexcept : send_once_(std::move(right)) {}

  // Takes over the right `name`. `disposition` is MACH_MSG_TYPE_MOVE_SEND or
  // MACH_MSG_TYPE_MOVE_SEND_ONCE. It is ignored if `name` is MACH_PORT_NULL or MACH_PORT_DEAD.
  // Throws std::bad_alloc for a send right; the caller then still owns the right.
  static reply_right adopt(mach_port_name_t name, mach_msg_type_name_t disposition,
                           const place& where = place::current()) {
    if (name == MACH_PORT_DEAD) return reply_right(was_dead());
    if (disposition == MACH_MSG_TYPE_MOVE_SEND) return reply_right(send_right::adopt(name, where));
    return reply_right(send_once_right::adopt(name, where));
  }

  // Returns true if the right was dead already when it was adopted, and is empty therefore.
  bool arrived_dead() const noexcept { return died_; }
  explicit operator bool() const noexcept { return send_ || send_once_; }
  mach_port_name_t name() const noexcept { return send_ ? send_.name() : send_once_.name(); }
  mach_msg_type_name_t disposition() const noexcept {
    return send_ ? mach_msg_type_name_t{MACH_MSG_TYPE_MOVE_SEND}
                 : mach_msg_type_name_t{MACH_MSG_TYPE_MOVE_SEND_ONCE};
  }

  // The incarnation of the space in which the name has its meaning.
  std::uint32_t space() const noexcept { return send_ ? send_.space() : send_once_.space(); }

  // Transfers the right to the caller. Returns MACH_PORT_NULL if empty.
  mach_port_name_t release() && noexcept {
    return send_ ? std::move(send_).release() : std::move(send_once_).release();
  }

 private:
  friend class destination;
  struct was_dead {};
  explicit reply_right(was_dead) noexcept : died_(true) {}

  send_right send_;  // at most one of the two is there
  send_once_right send_once_;
  bool died_ = false;
};

}  // namespace kedge::mach
