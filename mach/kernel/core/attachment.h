// attachment: an open file that travels with a call, beside the plain data of its request or reply.
//
//   attachment file(fd, close_file);
//   call(requests::fileport_make{}, mach_task_self(), &file);  // closed here unless it was taken
//
// It owns the fd. A binding to another process sends the file (by SCM_RIGHTS), not the fd.
// The core only knows the type: how a file is closed is for the makers of an attachment to say.
#pragma once

#include <utility>

namespace kedge::mach::kernel {

class attachment {
 public:
  using closer = void (*)(int fd) noexcept;

  attachment() = default;
  attachment(int fd, closer close) noexcept : fd_(fd), close_(close) {}
  attachment(attachment&& other) noexcept
      : fd_(std::exchange(other.fd_, none)), close_(other.close_) {}
  attachment& operator=(attachment&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~attachment() {
    if (fd_ != none) close_(fd_);
  }

  explicit operator bool() const noexcept { return fd_ != none; }
  int fd() const noexcept { return fd_; }
  // Hands the fd over to the caller.
  int release() noexcept { return std::exchange(fd_, none); }

 private:
  static constexpr int none = -1;

  int fd_ = none;
  closer close_ = nullptr;
};

}  // namespace kedge::mach::kernel
