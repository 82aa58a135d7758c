// blocking_trap: mach_msg for a thread that blocks: sends a request and receives its reply, in one
// trap where that is possible. For call_blocking().
//
// A trap has one time-out, and each of its halves may take all of it. So the first trap, which does
// both, gets half of the time. If that is too little, one trap sends and another receives, each
// with what is left.
//
// Threads: the caller's.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <cstdint>

#include "kedge/mach/message_buffer.h"
#include "kedge/mach/received.h"
#include "kedge/runtime/reactor/clock.h"

namespace kedge::mach {

class blocking_trap {
 public:
  // The reply comes to `port`, a receive right, and has at most `max` bytes without its trailer.
  // `limit` begins now; clock::duration::max() is none. Throws std::bad_alloc.
  blocking_trap(mach_port_name_t port, clock::duration limit, std::size_t max);

  // Sends the message of `size` bytes, which names `port` as its reply port. Returns mach_msg's
  // code of the send alone. MACH_SEND_TIMED_OUT does not mean that the time has passed: ask
  // expired().
  mach_msg_return_t send(mach_msg_header_t& request, mach_msg_size_t size) noexcept;
  // Makes send() return before the trap waits for the reply.
  void split() noexcept { is_first_ = false; }
  // Returns true if the time has passed.
  bool expired() const noexcept { return left() == 0; }

  // Waits for the reply, after send() has succeeded. Returns the codes of try_receive();
  // MACH_RCV_TIMED_OUT if the time has passed.
  mach_msg_return_t receive(received& into) noexcept;

 private:
  static constexpr mach_msg_return_t not_received = MACH_RCV_INTERRUPTED;

  // What is left of the time, in milliseconds that are rounded up.
  mach_msg_timeout_t left() const noexcept;
  mach_msg_option_t bound(mach_msg_option_t option) const noexcept {
    return is_bounded_ ? option : mach_msg_option_t{0};
  }

  mach_port_name_t port_;
  std::size_t max_;
  received_buffer buffer_;
  bool is_bounded_;
  std::uint64_t end_ = 0;                  // in nanoseconds of mach_absolute_time()
  bool is_first_ = true;                   // no trap was made yet
  mach_msg_return_t code_ = not_received;  // of the last receive
};

}  // namespace kedge::mach
