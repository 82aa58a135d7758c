#include <sys/socket.h>

#include "benchmark.h"
#include "interest_list.h"

namespace {

// Writes a byte, waits for the event, and reads the byte.
template <class List>
void read(std::uint64_t n, List& list, const int (&ends)[2]) {
  char byte = 'x';
  for (std::uint64_t i = 0; i < n; ++i) {
    if (::write(ends[1], &byte, 1) != 1) throw_errno("write");
    list.wait();
    if (::read(ends[0], &byte, 1) != 1) throw_errno("read");
  }
  ::close(ends[0]);
  ::close(ends[1]);
}

void connect(int (&ends)[2]) {
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) throw_errno("socketpair");
}

}  // namespace

namespace {

void read_by_kevent(std::uint64_t n, kqueue_list& list) {
  int ends[2];
  connect(ends);
  for (const int filter : {EVFILT_READ, EVFILT_WRITE}) {
    list.change(static_cast<std::uintptr_t>(ends[0]), filter, EV_ADD | EV_CLEAR);
  }
  read(n, list, ends);
}

}  // namespace

void read_by_kevent(std::uint64_t n) {
  kqueue_list list;
  read_by_kevent(n, list);
}
void read_with_marks(std::uint64_t n) {
  kqueue_list list(kedge::kqueue::no_data, kedge::kqueue::oob_marks);
  read_by_kevent(n, list);
}

#if defined(__linux__)
void read_by_epoll(std::uint64_t n) {
  epoll_list list;
  int ends[2];
  connect(ends);
  list.watch(ends[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
  read(n, list, ends);
}
#endif
