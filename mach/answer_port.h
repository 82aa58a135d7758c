// answer_port: one lent private port, and the wait for the one message that comes to it.
//
// For operations that ask for one answer (call, no_senders): they make the send-once right to
// port(), then await the rest of this like an operation.
#pragma once

#include <mach/mach.h>

#include <optional>
#include <system_error>

#include "kedge/mach/private_ports.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/received.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/waiter.h"

namespace kedge::mach {

class answer_port {
 public:
  answer_port() noexcept = default;
  answer_port(const answer_port&) = delete;
  answer_port& operator=(const answer_port&) = delete;

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
  private_ports* lender_ = nullptr;
  receive_right port_;
  std::optional<receive_operation> receiving_;
  std::error_code error_;
};

}  // namespace kedge::mach
