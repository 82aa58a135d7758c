// reply_port: one lent private port, and the wait for the one message that comes to it.
//
// For operations that ask for one answer (call, no_senders): they make the send-once right to
// port(), then await the rest of this like an operation.
#pragma once

#include <mach/mach.h>

#include <optional>
#include <system_error>

#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/received.h"
#include "kedge/mach/reply_port_cache.h"
#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

class reply_port {
 public:
  reply_port() noexcept = default;
  reply_port(const reply_port&) = delete;
  reply_port& operator=(const reply_port&) = delete;

  // Lends the port. Throws std::system_error and std::bad_alloc.
  void open(waiter& w);
  mach_port_name_t port() const noexcept { return port_.name(); }

  // As await_ready() and await_suspend() in one: true if there is something to wait for.
  bool start(waiter& w) noexcept;
  bool settle() noexcept { return error_ || receiving_->await_settle(); }
  void cancel() noexcept { receiving_->await_cancel(); }

  // The answer. The port is given back; with an error it is destroyed.
  result<received> take() noexcept;

 private:
  reply_port_cache* lender_ = nullptr;
  receive_right port_;
  std::optional<receive_operation> receiving_;
  std::error_code error_;
};

}  // namespace kedge::mach
