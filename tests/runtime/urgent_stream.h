// urgent_stream: the two ends of a TCP connection within this process, with out-of-band data.
#pragma once

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <string_view>
#include <utility>

#include "file_ends.h"

namespace kedge {

class urgent_stream {
 public:
  urgent_stream() = default;
  urgent_stream(const urgent_stream&) = delete;
  urgent_stream& operator=(const urgent_stream&) = delete;
  ~urgent_stream() {
    for (const std::size_t i : {0U, 1U}) close(i);
  }
  int operator[](std::size_t i) const noexcept { return ends_[i]; }
  void close(std::size_t i) noexcept {
    if (ends_[i] >= 0) ::close(std::exchange(ends_[i], -1));
  }

  // From the end 1 to the end 0.
  void send(std::string_view text) const { send(text, 0); }
  void send_urgent(std::string_view text) const { send(text, MSG_OOB); }
  void await_urgent() const {
    pollfd p{ends_[0], POLLPRI, 0};
    REQUIRE(::poll(&p, 1, -1) == 1);
  }
  char receive_urgent() const {
    char byte = 0;
    REQUIRE(::recv(ends_[0], &byte, 1, MSG_OOB) == 1);
    return byte;
  }

 private:
  void send(std::string_view text, int flags) const {
    REQUIRE(::send(ends_[1], text.data(), text.size(), flags) == static_cast<ssize_t>(text.size()));
  }

  std::array<int, 2> ends_ = tcp_pair();
};

}  // namespace kedge
