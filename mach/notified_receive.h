// notified_receive: the base of operations that receive a notification which comes alone on its
// port, and give it in another form than receive() does.
//
// A message that is lost ends the wait with the error of receive().telling_losses(): it may have
// been the notification, and there will be no other.
//
// Threads: the loop's thread only.
#pragma once

#include <utility>

#include "kedge/mach/receive.h"
#include "kedge/mach/received.h"
#include "kedge/runtime/awaiting/waiter.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

class notified_receive {
 public:
  notified_receive(const notified_receive&) = delete;
  notified_receive& operator=(const notified_receive&) = delete;

  bool await_ready() noexcept { return receiving_.await_ready(); }
  bool await_suspend(waiter& w) { return receiving_.await_suspend(w); }
  bool await_settle() noexcept { return receiving_.await_settle(); }
  bool await_cancel(cancel_cause cause) noexcept { return receiving_.await_cancel(cause); }

 protected:
  explicit notified_receive(receive_awaitable&& from) noexcept
      : receiving_(std::move(from).telling_losses().operator co_await()) {}
  ~notified_receive() = default;

  result<received> take() { return receiving_.await_resume(); }

 private:
  receive_operation receiving_;
};

}  // namespace kedge::mach
