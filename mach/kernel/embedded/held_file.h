// held_file: an open file of this process that a port stands for (Darwin: fileport_alloc).
#pragma once

#include "kedge/mach/kernel/core/object.h"

namespace kedge::mach::kernel {

// Keeps an open file open, by an fd of its own, until no right to its port is left. The child of a
// fork closes the fds of all held files, because it begins with a new kernel.
class held_file final : public object {
 public:
  // Takes the fd over.
  explicit held_file(int fd);

  // Closes an fd that no object has taken over, by a bare system call: close() is a
  // cancellation point, and no Mach call is one.
  static void close(int fd) noexcept;

  // Returns another fd for the file, the first free one from `lowest` on, which exec closes; or -1
  // with errno.
  int open_again(int lowest) const noexcept;

 private:
  ~held_file() override;

  const int fd_;
};

}  // namespace kedge::mach::kernel
