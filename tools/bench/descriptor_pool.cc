// descriptor_pool: duplicates of two pipes, one with a byte in it and one without.
#include "descriptor_pool.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

namespace {

constexpr std::size_t wanted = 100'000;
constexpr std::size_t all_ready = 10;
constexpr std::size_t others = 200;  // left for fds beside the pool

// Raises the soft limit to the hard one, and returns it.
std::size_t allowed_descriptors() {
  static const std::size_t allowed = [] {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) throw_errno("getrlimit");
    const rlimit all{limit.rlim_max, limit.rlim_max};
    return ::setrlimit(RLIMIT_NOFILE, &all) == 0 ? all.rlim_cur : limit.rlim_cur;
  }();
  return allowed;
}

// Returns the read end of a pipe with 0 or 1 `bytes` in it. The write end stays open.
int pipe_with(std::size_t bytes) {
  int ends[2];
  if (::pipe(ends) != 0) throw_errno("pipe");
  if (bytes != 0 && ::write(ends[1], "x", bytes) < 0) throw_errno("write");
  return ends[0];
}

}  // namespace

void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::size_t most_descriptors() {
  return std::min<std::size_t>(wanted, std::max(allowed_descriptors(), 2 * others) - others);
}

std::string too_few_descriptors() {
  if (most_descriptors() == wanted) return {};
  return std::to_string(wanted) + " descriptors: not measured, the hard limit (RLIMIT_NOFILE) is " +
         std::to_string(allowed_descriptors()) + "; measured with " +
         std::to_string(most_descriptors());
}

std::span<const int> descriptors(std::size_t size, std::size_t ready) {
  static const int full = pipe_with(1);
  static const int idle = pipe_with(0);
  static std::vector<int> pool;
  const std::size_t first = all_ready - ready;
  if (pool.size() < first + size) {
    most_descriptors();  // raises the limit
    pool.reserve(first + size);
  }
  while (pool.size() < first + size) {
    // Close-on-exec, so that the programs that bench starts do not inherit the pool.
    pool.push_back(::fcntl(pool.size() < all_ready ? full : idle, F_DUPFD_CLOEXEC, 0));
    if (pool.back() < 0) throw_errno("fcntl");
  }
  return std::span(pool).subspan(first, size);
}
