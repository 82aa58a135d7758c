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
constexpr std::size_t others = 200;  // besides the pool

// The hard limit, which becomes the soft one.
std::size_t allowed_descriptors() {
  static const std::size_t allowed = [] {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("getrlimit");
    const rlimit all{limit.rlim_max, limit.rlim_max};
    return ::setrlimit(RLIMIT_NOFILE, &all) == 0 ? all.rlim_cur : limit.rlim_cur;
  }();
  return allowed;
}

// The reading end of a pipe, whose other end stays open.
int pipe_with(std::size_t bytes) {
  int ends[2];
  if (::pipe(ends) != 0) fail("pipe");
  if (bytes != 0 && ::write(ends[1], "x", bytes) < 0) fail("write");
  return ends[0];
}

}  // namespace

void fail(const char* what) {
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
    // Not for the programs that bench starts.
    pool.push_back(::fcntl(pool.size() < all_ready ? full : idle, F_DUPFD_CLOEXEC, 0));
    if (pool.back() < 0) fail("fcntl");
  }
  return std::span(pool).subspan(first, size);
}
