#include <stdexcept>

#include "benchmark.h"
#include "interest_list.h"

namespace {

// A List of `size` descriptors, or of most_descriptors() if `size` is 0. Each benchmark makes its
// list once and keeps it, since watch_descriptors.cc measures that cost.
template <class List>
class filled_list {
 public:
  template <class... Arguments>
  filled_list(std::size_t size, std::size_t ready, Arguments... arguments)
      : ready_(static_cast<int>(ready)), list_(arguments...) {
    for (const int fd : descriptors(size != 0 ? size : most_descriptors(), ready)) list_.watch(fd);
  }

  void wait(std::uint64_t n) {
    for (std::uint64_t i = 0; i < n; ++i) {
      if (list_.wait() != ready_) throw std::runtime_error("wrong number of events");
    }
  }

 private:
  int ready_;
  List list_;
};

}  // namespace

template <std::size_t size, std::size_t ready>
void wait_by_kevent(std::uint64_t n) {
  static filled_list<kqueue_list> list(size, ready);
  list.wait(n);
}
template void wait_by_kevent<10, 1>(std::uint64_t);
template void wait_by_kevent<1000, 1>(std::uint64_t);
template void wait_by_kevent<1000, 10>(std::uint64_t);
template void wait_by_kevent<0, 1>(std::uint64_t);

void wait_by_kevent64(std::uint64_t n) {
  static filled_list<kqueue64_list> list(10, 1);
  list.wait(n);
}

void wait_by_kqueue_handle(std::uint64_t n) {
  static kqueue64_list list;
  static const bool is_filled = [] {
    for (const int fd : descriptors(10, 1)) list.watch(fd);
    return true;
  }();
  for (std::uint64_t i = 0; is_filled && i < n; ++i) list.wait_by_handle();
}

void take_nothing_by_fd(std::uint64_t n) {
  static const kqueue64_list list;
  kevent64_s events[8];
  for (std::uint64_t i = 0; i < n; ++i) {
    if (kedge::kqueue::take_active(list.fd(), events, 8) != 0)
      throw std::runtime_error("wrong number of events");
  }
}

void take_nothing_by_handle(std::uint64_t n) {
  static const kqueue64_list list;
  kevent64_s events[8];
  for (std::uint64_t i = 0; i < n; ++i) {
    if (list.handle().take_active(events, 8) != 0)
      throw std::runtime_error("wrong number of events");
  }
}

void wait_with_data(std::uint64_t n) {
  static filled_list<kqueue_list> list(10, 1, 0u);
  list.wait(n);
}

#if defined(__linux__)
template <std::size_t size, std::size_t ready>
void wait_by_epoll(std::uint64_t n) {
  static filled_list<epoll_list> list(size, ready);
  list.wait(n);
}
template void wait_by_epoll<10, 1>(std::uint64_t);
template void wait_by_epoll<1000, 1>(std::uint64_t);
template void wait_by_epoll<1000, 10>(std::uint64_t);
template void wait_by_epoll<0, 1>(std::uint64_t);
#endif
