// held_file: an open file of this process that a port stands for (Darwin: fileport_alloc).
#pragma once

#include "kedge/mach/kernel/core/object.h"

namespace kedge::mach::kernel {

// Keeps an open file open, by a descriptor of its own, until no right to its port is left. The
// child of a fork closes the descriptors of all held files, because it begins with a new kernel.
class held_file final : public object {
 public:
  // Takes the descriptor over.
  explicit held_file(int descriptor);

  // Closes a descriptor that no object has taken over, by a bare system call: close() is a
  // cancellation point, and no Mach call is one.
  static void close(int descriptor) noexcept;

  // Returns another descriptor for the file, which exec closes, or -1 with errno.
  int open_again() const noexcept;

 private:
  ~held_file() override;

  const int descriptor_;
};

}  // namespace kedge::mach::kernel
