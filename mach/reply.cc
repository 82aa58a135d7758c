// Implements reply() with try_send().
#include "kedge/mach/reply.h"

#include <atomic>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/send.h"

namespace kedge::mach {
namespace {

constinit std::atomic<std::uint64_t> dropped{0};

}  // namespace

std::error_code reply(reply_right&& to, message m) {
  const result<void, send_failure> sent = try_send(std::move(to), std::move(m));
  if (sent) return {};
  if (sent.error().code() == errc::queue_full) dropped.fetch_add(1, std::memory_order_relaxed);
  return sent.error().code();
}

std::error_code reply(received& request, message m) {
  return reply(request.take_reply(), std::move(m));
}

std::uint64_t dropped_replies() noexcept {
  return dropped.load(std::memory_order_relaxed);
}

}  // namespace kedge::mach
