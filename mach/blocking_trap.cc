// Implements blocking_trap with mach_msg_overwrite() and mach_msg().
#include "kedge/mach/blocking_trap.h"

#include <mach/mach_time.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/try_receive.h"

namespace kedge::mach {
namespace {

constexpr std::size_t usual_buffer = 512;
constexpr std::uint64_t nanoseconds_in_ms = 1'000'000;

// The trap's time-out is in 32 bits. A longer wait takes several traps.
constexpr std::uint64_t longest_trap = std::numeric_limits<std::int32_t>::max();

std::uint64_t now_in_ns() noexcept {
  mach_timebase_info_data_t base{};
  mach_timebase_info(&base);
  return mach_absolute_time() * base.numer / base.denom;
}

// Returns true if the code is of the receiving half of a trap: its send has succeeded.
bool is_of_receive(mach_msg_return_t code) noexcept {
  constexpr mach_msg_return_t numbers = 0x3fff;  // MACH_MSG_MASK among them
  return (code & ~numbers) == (MACH_RCV_TIMED_OUT & ~numbers);
}

}  // namespace

blocking_trap::blocking_trap(mach_port_name_t port, clock::duration limit, std::size_t max)
    : port_(port),
      max_(std::clamp(max, sizeof(mach_msg_header_t), largest_message)),
      buffer_(std::min(usual_buffer, max_ + REQUESTED_TRAILER_SIZE(receive_options({})))),
      is_bounded_(limit != clock::duration::max()) {
  if (!is_bounded_) return;
  const auto wait = static_cast<std::uint64_t>(std::max(limit.count(), clock::rep{0}));
  const std::uint64_t start = now_in_ns();
  end_ = start + std::min(wait, std::numeric_limits<std::uint64_t>::max() - start);
}

mach_msg_timeout_t blocking_trap::left() const noexcept {
  if (!is_bounded_) return std::numeric_limits<mach_msg_timeout_t>::max();
  const std::uint64_t now = now_in_ns();
  if (now >= end_) return 0;
  const std::uint64_t ms = (end_ - now - 1) / nanoseconds_in_ms + 1;
  return static_cast<mach_msg_timeout_t>(std::min(ms, longest_trap));
}

mach_msg_return_t blocking_trap::send(mach_msg_header_t& request, mach_msg_size_t size) noexcept {
  const mach_msg_option_t options = MACH_SEND_MSG | MACH_SEND_INTERRUPT | bound(MACH_SEND_TIMEOUT);
  if (!std::exchange(is_first_, false)) {
    return mach_msg(&request, options, size, 0, MACH_PORT_NULL, left(), MACH_PORT_NULL);
  }
  const mach_msg_return_t code = mach_msg_overwrite(
      &request, options | receive_options({}) | MACH_RCV_LARGE | bound(MACH_RCV_TIMEOUT), size,
      static_cast<mach_msg_size_t>(buffer_.size()), port_, left() / 2, MACH_PORT_NULL,
      &buffer_.header(), 0);
  if (code != MACH_MSG_SUCCESS && !is_of_receive(code)) return code;
  code_ = without_shortage(code);
  return MACH_MSG_SUCCESS;
}

mach_msg_return_t blocking_trap::receive(received& into) noexcept {
  while (code_ == MACH_RCV_INTERRUPTED || (code_ == MACH_RCV_TIMED_OUT && !expired())) {
    code_ = without_shortage(
        mach_msg(&buffer_.header(), receive_options({}) | MACH_RCV_LARGE | bound(MACH_RCV_TIMEOUT),
                 0, static_cast<mach_msg_size_t>(buffer_.size()), port_, left(), MACH_PORT_NULL));
  }
  if (code_ == MACH_RCV_TOO_LARGE) {
    std::size_t expected = max_;  // the message is queued
    return try_receive(port_, expected, into, {.max = max_});
  }
  if (code_ == MACH_MSG_SUCCESS) {
    into = received(std::move(buffer_));
  } else if (code_ == MACH_RCV_BODY_ERROR) {
    const received released(std::move(buffer_));
  }
  return code_;
}

}  // namespace kedge::mach
