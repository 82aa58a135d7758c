// print_error_line(): writes to stderr without SIGPIPE and without a wait.
#include "kedge/runtime/error_line.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstddef>
#include <cstdio>

#include "kedge/runtime/base/sigpipe_guard.h"
#include "kedge/runtime/descriptor_file.h"

namespace kedge {

// A pipe with room takes _POSIX_PIPE_BUF bytes at once.
void print_error_line(const char* format, ...) noexcept {
  std::array<char, _POSIX_PIPE_BUF> line;
  std::va_list args;
  va_start(args, format);
  const int n = std::vsnprintf(line.data(), line.size(), format, args);
  va_end(args);
  auto size = static_cast<std::size_t>(std::max(n, 0));
  if (size >= line.size()) {
    size = line.size();
    line.back() = '\n';
  }
  const base::sigpipe_guard guard;  // the reader of a pipe may have gone
  if ((poll_now(STDERR_FILENO, POLLOUT) & POLLOUT) != 0) {
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), size);
  }
}

}  // namespace kedge
