// What an event loop is interested in: a kqueue, used as a loop does; and where there is epoll, the
// same written by hand.
#pragma once

#include <sys/event.h>
#include <unistd.h>

#include <cstdint>

#include "descriptor_pool.h"
#include "kedge/runtime/kqueue/extension.h"

#if defined(__linux__)
#include <sys/epoll.h>
#endif

class kqueue_list {
 public:
  // `without`: of kedge/kqueue/extension.h.
  explicit kqueue_list(unsigned without = kedge::kqueue::no_data) {
    if (fd_ < 0) fail("kqueue");
    kedge::kqueue::opt_out(fd_, without);
  }
  ~kqueue_list() { ::close(fd_); }
  kqueue_list(const kqueue_list&) = delete;
  kqueue_list& operator=(const kqueue_list&) = delete;

  int fd() const { return fd_; }
  void watch(int fd) const { change(static_cast<std::uintptr_t>(fd), EVFILT_READ, EV_ADD); }
  void change(std::uintptr_t ident, int filter, int flags, unsigned fflags = 0,
              std::intptr_t data = 0) const {
    const struct kevent change{
        ident,  static_cast<std::int16_t>(filter), static_cast<std::uint16_t>(flags), fflags, data,
        nullptr};
    if (::kevent(fd_, &change, 1, nullptr, 0, nullptr) != 0) fail("kevent");
  }

  static constexpr int room = 64;
  // Waits. Returns how many events there are.
  int wait() {
    const int count = ::kevent(fd_, nullptr, 0, events_, room, nullptr);
    if (count <= 0) fail("kevent");
    return count;
  }

 private:
  int fd_ = ::kqueue();
  struct kevent events_[room];
};

// The same by kevent64(), which a kqueue cannot mix with the other.
class kqueue64_list {
 public:
  kqueue64_list() {
    if (fd_ < 0) fail("kqueue");
    kedge::kqueue::opt_out(fd_, kedge::kqueue::no_data);
  }
  ~kqueue64_list() { ::close(fd_); }
  kqueue64_list(const kqueue64_list&) = delete;
  kqueue64_list& operator=(const kqueue64_list&) = delete;

  void watch(int fd) const {
    const kevent64_s change{static_cast<std::uint64_t>(fd), EVFILT_READ, EV_ADD, 0, 0, 0, {0, 0}};
    if (::kevent64(fd_, &change, 1, nullptr, 0, 0, nullptr) != 0) fail("kevent64");
  }

  static constexpr int room = 64;
  int wait() {
    const int count = ::kevent64(fd_, nullptr, 0, events_, room, 0, nullptr);
    if (count <= 0) fail("kevent64");
    return count;
  }

 private:
  int fd_ = ::kqueue();
  kevent64_s events_[room];
};

#if defined(__linux__)

class epoll_list {
 public:
  epoll_list() {
    if (fd_ < 0) fail("epoll_create1");
  }
  ~epoll_list() { ::close(fd_); }
  epoll_list(const epoll_list&) = delete;
  epoll_list& operator=(const epoll_list&) = delete;

  void watch(int fd, std::uint32_t events = EPOLLIN) const {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    if (::epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
  }

  static constexpr int room = 64;
  int wait() {
    const int count = ::epoll_wait(fd_, events_, room, -1);
    if (count <= 0) fail("epoll_wait");
    return count;
  }

 private:
  int fd_ = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event events_[room];
};

#endif
