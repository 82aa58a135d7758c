// owned_fd: a file descriptor that is closed once.
//
// Threads: an object is used by one thread at a time.
#pragma once

#include <unistd.h>

#include <utility>

namespace kedge::net {

class owned_fd {
 public:
  owned_fd() = default;
  // Takes over `fd`; -1 makes an empty object.
  explicit owned_fd(int fd) noexcept : fd_(fd) {}
  owned_fd(owned_fd&& other) noexcept : fd_(other.release()) {}
  owned_fd& operator=(owned_fd&& other) noexcept {
    owned_fd(std::move(other)).swap(*this);
    return *this;
  }
  ~owned_fd() {
    if (fd_ >= 0) ::close(fd_);
  }

  // -1 if empty.
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  // Gives the fd to the caller, who closes it.
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  void swap(owned_fd& other) noexcept { std::swap(fd_, other.fd_); }

  int fd_ = -1;
};

}  // namespace kedge::net
