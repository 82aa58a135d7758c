// reply_port_cache: the loop's idle reply ports. A reply port receives one message: the reply to a
// call, or a notification that does not name its port.
//
// An attachment of the loop. While an operation uses a port, the only right to it is one send-once
// right. After the message sent to that right has been received, no other message can arrive, so
// the port goes back into the cache together with its kqueue registration. In the steady state a
// call therefore makes no port. A port whose message has not arrived is destroyed instead: a late
// reply is dropped by the kernel and cannot reach a newer call.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "kedge/mach/receive_right.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {

class reply_port_cache {
 public:
  explicit reply_port_cache(reactor&) { idle_.reserve(capacity); }
  reply_port_cache(const reply_port_cache&) = delete;
  reply_port_cache& operator=(const reply_port_cache&) = delete;

  // Takes an idle port, or makes one (queue limit 1). Throws std::system_error and std::bad_alloc.
  receive_right take() {
    if (idle_.empty()) return receive_right::make_pooled(pooled_port::reply, 1);
    receive_right port = std::move(idle_.back());
    idle_.pop_back();
    return port;
  }
  // Returns a port to the cache; destroys it if the cache is full. Requires that no right to it
  // exists and that its queue is empty.
  void give_back(receive_right&& port) noexcept {
    receive_right returned = std::move(port);
    if (idle_.size() < capacity) idle_.push_back(std::move(returned));
  }

 private:
  static constexpr std::size_t capacity = 64;
  std::vector<receive_right> idle_;
};

}  // namespace kedge::mach
