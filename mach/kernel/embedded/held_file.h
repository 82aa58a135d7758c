// Open files of this process that ports stand for (Darwin: fileport_alloc and its kind).
#pragma once

#include "kedge/mach/kernel/core/object.h"

namespace kedge::mach::kernel {

// Keeps an open file open, by a descriptor of its own, until nobody has a right to its port. In the
// child of a fork all of them are closed: its kernel is a new one.
class held_file final : public object {
 public:
  // The descriptor is its own from here on.
  explicit held_file(int descriptor);

  // For one that no object has taken. By a bare system call: close() is a cancellation point, and
  // no call of Mach's is one.
  static void close(int descriptor) noexcept;

  // Another descriptor for the file, closed by exec; -1 and errno.
  int open_again() const noexcept;

 private:
  ~held_file() override;

  const int descriptor_;
};

}  // namespace kedge::mach::kernel
