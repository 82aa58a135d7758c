// raw_listener: a listening stream socket that no loop watches, so that a test decides when a
// connection is taken.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <vector>

#include "kedge/net/address.h"
#include "kedge/net/owned_fd.h"

namespace kedge::net {

class raw_listener {
 public:
  raw_listener(const address& at, int backlog) : fd_(::socket(at.family(), SOCK_STREAM, 0)) {
    REQUIRE(::bind(fd_.get(), at.data(), at.size()) == 0);
    REQUIRE(::listen(fd_.get(), backlog) == 0);
    sockaddr_storage name{};
    socklen_t size = sizeof(name);
    REQUIRE(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
    at_ = address(reinterpret_cast<const sockaddr*>(&name), size);
  }

  const address& at() const noexcept { return at_; }
  int native_handle() const noexcept { return fd_.get(); }

  // Fills a backlog of 0, so that a further connection neither fails nor is made.
  void fill() {
    for (int i = 0; i < 3; ++i) {
      fillers_.emplace_back(::socket(at_.family(), SOCK_STREAM, 0));
      ::fcntl(fillers_.back().get(), F_SETFL, O_NONBLOCK);
      (void)::connect(fillers_.back().get(), at_.data(), at_.size());
    }
  }
  // Blocks until a connection is in the backlog.
  void wait() const {
    pollfd waiting{fd_.get(), POLLIN, 0};
    REQUIRE(::poll(&waiting, 1, -1) == 1);
  }
  // Takes a connection out of the backlog, if there is one, and closes it.
  void take() const {
    pollfd waiting{fd_.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 0) == 1) (void)owned_fd(::accept(fd_.get(), nullptr, nullptr));
  }
  void close() noexcept { fd_ = owned_fd(); }

 private:
  owned_fd fd_;
  address at_;
  std::vector<owned_fd> fillers_;
};

}  // namespace kedge::net
