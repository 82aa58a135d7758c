// reply_port_cache: the loop's ports for one answer each: replies, and notifications that name no
// port.
//
// An attachment of the loop. A port is lent for one send-once right, which is the only right to it.
// When the message that used this right up has been taken, no other can come any more, and the port
// is given back for the next caller, kqueue registration and all; so a call costs no port of its
// own in the steady state. A port whose answer is outstanding is never given back but destroyed: a
// late answer finds nobody, least of all a newer call.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "kedge/mach/receive_right.h"
#include "kedge/runtime/reactor/reactor.h"

namespace kedge::mach {

class reply_port_cache {
 public:
  explicit reply_port_cache(reactor&) { idle_.reserve(kept_at_most); }
  reply_port_cache(const reply_port_cache&) = delete;
  reply_port_cache& operator=(const reply_port_cache&) = delete;

  // Throws std::system_error and std::bad_alloc.
  receive_right take() {
    if (idle_.empty()) return receive_right::make(1);
    receive_right port = std::move(idle_.back());
    idle_.pop_back();
    return port;
  }
  void give_back(receive_right&& port) noexcept {
    receive_right given = std::move(port);
    if (idle_.size() < kept_at_most) idle_.push_back(std::move(given));
  }

 private:
  static constexpr std::size_t kept_at_most = 64;
  std::vector<receive_right> idle_;
};

}  // namespace kedge::mach
