#include <algorithm>
#include <deque>

#include "benchmark.h"
#include "interest_list.h"

namespace {

// Uses several lists if necessary, since a list watches a descriptor once.
template <class List>
void watch(std::uint64_t n) {
  std::deque<List> lists;
  while (n != 0) {
    const std::size_t size = std::min<std::size_t>(n, most_descriptors());
    List& list = lists.emplace_back();
    for (const int fd : descriptors(size, 0)) list.watch(fd);
    n -= size;
  }
}

}  // namespace

void watch_by_kevent(std::uint64_t n) {
  watch<kqueue_list>(n);
}

#if defined(__linux__)
void watch_by_epoll(std::uint64_t n) {
  watch<epoll_list>(n);
}
#endif
