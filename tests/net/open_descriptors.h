// open_descriptors(): counts the open descriptors of the process, of which the tests open few.
#pragma once

#include <fcntl.h>

#include <cstddef>

namespace kedge::net {

inline std::size_t open_descriptors() noexcept {
  std::size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

}  // namespace kedge::net
