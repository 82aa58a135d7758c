// reply_port: a port out of the loop's reply_port_cache, and the wait for its one message.
//
// For operations that expect one message (call, no_senders). Such an operation calls open(), has
// the send-once right to name() made (by sending, or by the request of a notification), calls
// start(), and passes its await_settle() and await_cancel() on. take() ends the wait.
#pragma once

#include <mach/mach.h>

#include <cstddef>
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

  // Takes a port out of the cache. Throws std::system_error, std::bad_alloc, and std::logic_error
  // if the current space is not the loop's.
  void open(waiter& w);
  mach_port_name_t name() const noexcept { return port_.name(); }

  // await_ready() and await_suspend() in one: returns true if `w` has to wait, false if take() can
  // be called at once.
  // A message of more than `max` bytes, or one that cannot be copied out, gives an error.
  bool start(waiter& w, std::size_t max = default_max_message) noexcept;
  bool settle() noexcept { return error_ || receiving_->await_settle(); }
  void cancel(cancel_cause cause) noexcept { receiving_->await_cancel(cause); }

  // The message. Returns the port to the cache; destroys it if there was an error.
  result<received> take() noexcept;
  // Returns the port to the cache, instead of start(). Requires that no right to it exists, or that
  // one send-once right was released unused.
  void give_back() noexcept;

 private:
  reply_port_cache* cache_ = nullptr;
  receive_right port_;
  std::optional<receive_operation> receiving_;
  std::error_code error_;
};

}  // namespace kedge::mach
