// received_fds: the descriptors that have come along with the bytes of a Unix socket.
//
//     net::received_fds fds(1);
//     const auto n = co_await peer.read_some(room, fds);
//     if (n && fds.size() == 1) net::owned_fd file = fds.take(0);
//
// They are owned and close-on-exec. The destructor closes those that the program has not taken. A
// read closes at once, and counts, the descriptors beyond the limit and those for which the process
// has no descriptor free.
//
// Threads: an object is used by one thread at a time.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "kedge/net/owned_fd.h"

namespace kedge::net {

class received_fds {
 public:
  // Keeps at most `limit` descriptors. Throws std::bad_alloc.
  explicit received_fds(std::size_t limit) : limit_(limit) { fds_.reserve(limit); }

  std::size_t size() const noexcept { return fds_.size(); }
  bool empty() const noexcept { return fds_.empty(); }
  int operator[](std::size_t i) const noexcept { return fds_[i].get(); }
  // Gives up the i-th, whose place stays, empty. Requires i < size().
  owned_fd take(std::size_t i) noexcept { return std::move(fds_[i]); }
  // How many came beyond the limit, and how often descriptors were lost because the process had
  // none free.
  std::size_t dropped() const noexcept { return dropped_; }
  // Closes what was not taken, and makes room for further ones.
  void clear() noexcept {
    fds_.clear();
    dropped_ = 0;
  }

 private:
  friend class read_with_fds;

  void add(owned_fd fd) noexcept { fds_.size() < limit_ ? fds_.push_back(std::move(fd)) : drop(); }
  void drop() noexcept { ++dropped_; }

  std::size_t limit_;
  std::size_t dropped_ = 0;
  std::vector<owned_fd> fds_;
};

}  // namespace kedge::net
