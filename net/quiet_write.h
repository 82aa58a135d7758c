// quiet_write: waits until a descriptor has room, and writes to it without SIGPIPE.
//
//     auto n = co_await quiet_write(out, bytes);      // as out.write_some(bytes)
//
// For pipe_stream and standard_stream, whose files may be pipes: a peer that has gone is EPIPE, and
// the signal never reaches the program. The rest is as descriptor::write_some() says. Cancelling
// the wait loses nothing. It holds the file, and may outlive the descriptor. Threads: the loop's
// thread only.
#pragma once

#include <cstddef>
#include <exception>
#include <span>
#include <utility>

#include "kedge/net/sigpipe_guard.h"
#include "kedge/runtime/awaiting/operation.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/result.h"

namespace kedge::net {

// Guards the two functions in which the wrapped operation writes.
class quiet_write_operation final {
 public:
  using wrapped = decltype(std::declval<descriptor&>().write_some({}));
  // For operation_waiter.
  static constexpr bool calls_no_user_code = true;

  explicit quiet_write_operation(wrapped&& w) : write_(std::move(w).operator co_await()) {}
  quiet_write_operation(const quiet_write_operation&) = delete;
  quiet_write_operation& operator=(const quiet_write_operation&) = delete;
  ~quiet_write_operation() = default;

  bool await_ready() noexcept {
    const sigpipe_guard guard;
    return write_.await_ready();
  }
  bool await_suspend(waiter& w) noexcept { return write_.await_suspend(w); }
  bool await_settle() noexcept {
    const sigpipe_guard guard;
    return write_.await_settle();
  }
  bool await_cancel(cancel_cause why) noexcept { return write_.await_cancel(why); }
  std::exception_ptr await_failure() noexcept { return write_.await_failure(); }
  result<std::size_t> await_resume() { return write_.await_resume(); }
  void describe(description& line) const noexcept { write_.describe(line); }

 private:
  decltype(std::declval<wrapped&&>().operator co_await()) write_;
};

class [[nodiscard]] quiet_write {
 public:
  // `bytes` must live until the wait ends.
  quiet_write(descriptor& out, std::span<const std::byte> bytes) noexcept
      : write_(out.write_some(bytes)) {}
  quiet_write_operation operator co_await() && { return quiet_write_operation(std::move(write_)); }

 private:
  quiet_write_operation::wrapped write_;
};

}  // namespace kedge::net
