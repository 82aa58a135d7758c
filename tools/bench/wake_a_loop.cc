#include "benchmark.h"
#include "interest_list.h"
#include "pinned_thread.h"

#if defined(__linux__)
#include <sys/eventfd.h>
#endif

namespace {

// A loop that is woken by a user event.
class kqueue_loop {
 public:
  explicit kqueue_loop(unsigned without = 0) : list_(kedge::kqueue::no_data | without) {
    list_.change(1, EVFILT_USER, EV_ADD | EV_CLEAR);
  }
  void wake() { list_.change(1, EVFILT_USER, 0, NOTE_TRIGGER); }
  void wait() { list_.wait(); }

 private:
  kqueue_list list_;
};

template <class Loop>
void wake_self(std::uint64_t n, Loop&& loop) {
  for (std::uint64_t i = 0; i < n; ++i) {
    loop.wake();
    loop.wait();
  }
}

}  // namespace

void wake_self_by_user_event(std::uint64_t n) {
  wake_self(n, kqueue_loop());
}
void wake_self_unpolled(std::uint64_t n) {
  wake_self(n, kqueue_loop(kedge::kqueue::not_pollable));
}
void wake_thread_by_user_event(std::uint64_t n) {
  take_turns<kqueue_loop>(n);
}

#if defined(__linux__)
namespace {

// A loop that is woken by an eventfd, which is never read.
class eventfd_loop {
 public:
  eventfd_loop() {
    if (wakeup_fd_ < 0) throw_errno("eventfd");
    list_.watch(wakeup_fd_, EPOLLIN | EPOLLET);
  }
  ~eventfd_loop() { ::close(wakeup_fd_); }
  eventfd_loop(const eventfd_loop&) = delete;
  eventfd_loop& operator=(const eventfd_loop&) = delete;
  void wake() {
    if (::eventfd_write(wakeup_fd_, 1) != 0) throw_errno("eventfd_write");
  }
  void wait() { list_.wait(); }

 private:
  epoll_list list_;
  int wakeup_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
};

}  // namespace

void wake_self_by_eventfd(std::uint64_t n) {
  wake_self(n, eventfd_loop());
}
void wake_thread_by_eventfd(std::uint64_t n) {
  take_turns<eventfd_loop>(n);
}
#endif
