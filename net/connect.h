// connect(), connect_unix(): connections to servers.
//
//     auto s = co_await net::connect("kedge.example", 443);
//     if (!s) std::puts(s.error().text().c_str());
//
// A host is looked up by resolve(), and its addresses are tried side by side (RFC 8305): families
// take turns, an attempt begins when the one before has failed or has taken 250 ms, the first
// connection wins, and the others are closed. The system's own time-out is minutes, so give one:
//
//     auto s = co_await net::connect("kedge.example", 443, {.timeout = 10s});
//
// Unlike with_timeout() it says in the error which addresses did not answer.
//
// The stream belongs to the loop of the task. Cancellation closes what was opened. Throws
// std::bad_alloc.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/net/address.h"
#include "kedge/net/tcp_stream.h"
#include "kedge/net/unix_stream.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

// Why there is no connection.
class connect_error {
 public:
  // An address that was tried, and why it failed.
  struct attempt {
    address to;
    std::error_code why;
  };

  explicit connect_error(std::error_code code) noexcept : code_(code) {}
  connect_error(std::error_code code, std::string name, std::vector<attempt> attempts)
      : code_(code), name_(std::move(name)), attempts_(std::move(attempts)) {}

  // The error of the first address, or of the name's resolution. errc::timed_out if the time was
  // up.
  std::error_code code() const noexcept { return code_; }
  // In the order in which they began. Empty if the name was not resolved, or if with_timeout() has
  // ended the wait.
  const std::vector<attempt>& attempts() const noexcept { return attempts_; }
  // "kedge.example:443: [2001:db8::1]:443: Connection refused; 192.0.2.1:443: Connection refused".
  // What result::value() throws says it too.
  std::string text() const;

 private:
  std::error_code code_;
  std::string name_;
  std::vector<attempt> attempts_;
};

struct connect_options {
  std::chrono::nanoseconds stagger = std::chrono::milliseconds(250);   // between attempts
  std::chrono::nanoseconds timeout = std::chrono::nanoseconds::max();  // of all, the name included
};

task<result<tcp_stream, connect_error>> connect(std::string host, std::uint16_t port,
                                                connect_options options = {});
// `service` is a number, or a name: "https".
task<result<tcp_stream, connect_error>> connect(std::string host, std::string service,
                                                connect_options options = {});
// To the first of several addresses that takes the connection.
task<result<tcp_stream, connect_error>> connect(std::vector<address> addresses,
                                                connect_options options = {});
task<result<tcp_stream, connect_error>> connect(address to, connect_options options = {});

// Where the server's backlog is full, tries again after 1 ms, then 2, 4 and so on, and every
// 100 ms: no event tells that there is room.
task<result<unix_stream, connect_error>> connect_unix(address to);

}  // namespace kedge::net
