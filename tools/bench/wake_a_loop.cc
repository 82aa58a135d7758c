#include "benchmark.h"
#include "interest_list.h"
#include "pinned_thread.h"

#if defined(__linux__)
#include <sys/eventfd.h>
#endif

namespace {

// A loop that can be woken by a user event.
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
void wake_oneself(std::uint64_t n, Loop&& loop) {
  for (std::uint64_t i = 0; i < n; ++i) {
    loop.wake();
    loop.wait();
  }
}

// Two on one core wake each other in turn.
template <class Loop>
void wake_another(std::uint64_t n) {
  Loop here, there;
  std::thread other = pinned_thread(0, [&] {
    for (std::uint64_t i = 0; i < n; ++i) {
      there.wait();
      here.wake();
    }
  });
  std::thread one = pinned_thread(0, [&] {
    for (std::uint64_t i = 0; i < n; ++i) {
      there.wake();
      here.wait();
    }
  });
  one.join();
  other.join();
}

}  // namespace

void trigger_for_oneself(std::uint64_t n) {
  wake_oneself(n, kqueue_loop());
}
void trigger_unpolled(std::uint64_t n) {
  wake_oneself(n, kqueue_loop(kedge::kqueue::not_pollable));
}
void trigger_for_another(std::uint64_t n) {
  wake_another<kqueue_loop>(n);
}

#if defined(__linux__)
namespace {

// By an eventfd that is never read.
class eventfd_loop {
 public:
  eventfd_loop() {
    if (bell_ < 0) fail("eventfd");
    list_.watch(bell_, EPOLLIN | EPOLLET);
  }
  ~eventfd_loop() { ::close(bell_); }
  eventfd_loop(const eventfd_loop&) = delete;
  eventfd_loop& operator=(const eventfd_loop&) = delete;
  void wake() {
    if (::eventfd_write(bell_, 1) != 0) fail("eventfd_write");
  }
  void wait() { list_.wait(); }

 private:
  epoll_list list_;
  int bell_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
};

}  // namespace

void ring_for_oneself(std::uint64_t n) {
  wake_oneself(n, eventfd_loop());
}
void ring_for_another(std::uint64_t n) {
  wake_another<eventfd_loop>(n);
}
#endif
