// kqueue_list, kqueue64_list, epoll_list: the descriptors that an event loop watches, by a kqueue
// as a loop uses it, and by hand-written epoll where the system has it.
//
// A call that fails throws std::system_error.
#pragma once

#include <sys/event.h>
#include <unistd.h>

#include <cstdint>

#include "descriptor_pool.h"
#include "kedge/runtime/kqueue/extension.h"

#if defined(__linux__)
#include <sys/epoll.h>
#endif

inline int call_kevent(int kq, const struct kevent* changes, int change_count,
                       struct kevent* events, int room) {
  return ::kevent(kq, changes, change_count, events, room, nullptr);
}
inline int call_kevent(int kq, const kevent64_s* changes, int change_count, kevent64_s* events,
                       int room) {
  return ::kevent64(kq, changes, change_count, events, room, 0, nullptr);
}
inline int wait_by_handle(const kedge::kqueue::handle& kq, struct kevent* events, int room) {
  return kq.kevent(nullptr, 0, events, room, nullptr);
}
inline int wait_by_handle(const kedge::kqueue::handle& kq, kevent64_s* events, int room) {
  return kq.kevent64(nullptr, 0, events, room, 0, nullptr);
}

// By kevent() or kevent64(), which one kqueue cannot mix.
template <class Event>
class basic_kqueue_list {
 public:
  // `without` and `with` are the features to opt out of and to opt in to, of
  // kedge/runtime/kqueue/extension.h.
  explicit basic_kqueue_list(unsigned without = kedge::kqueue::no_data, unsigned with = 0) {
    if (fd_ < 0) throw_errno("kqueue");
    kedge::kqueue::opt_out(fd_, without);
    kedge::kqueue::opt_in(fd_, with);
  }
  ~basic_kqueue_list() { ::close(fd_); }
  basic_kqueue_list(const basic_kqueue_list&) = delete;
  basic_kqueue_list& operator=(const basic_kqueue_list&) = delete;

  void watch(int fd) const { change(static_cast<std::uintptr_t>(fd), EVFILT_READ, EV_ADD); }
  void change(std::uintptr_t ident, int filter, int flags, unsigned fflags = 0,
              std::intptr_t data = 0) const {
    Event change{};
    change.ident = ident;
    change.filter = static_cast<std::int16_t>(filter);
    change.flags = static_cast<std::uint16_t>(flags);
    change.fflags = fflags;
    change.data = data;
    if (call_kevent(fd_, &change, 1, nullptr, 0) != 0) throw_errno("kevent");
  }

  static constexpr int room = 64;
  // Waits for events, and returns their number.
  int wait() {
    const int count = call_kevent(fd_, nullptr, 0, events_, room);
    if (count <= 0) throw_errno("kevent");
    return count;
  }
  // wait() by a handle.
  int wait_by_handle() {
    const int count = ::wait_by_handle(handle_, events_, room);
    if (count <= 0) throw_errno("kevent");
    return count;
  }

  int fd() const { return fd_; }
  const kedge::kqueue::handle& handle() const { return handle_; }

 private:
  int fd_ = ::kqueue();
  kedge::kqueue::handle handle_{fd_};
  Event events_[room];
};

using kqueue_list = basic_kqueue_list<struct kevent>;
using kqueue64_list = basic_kqueue_list<kevent64_s>;

#if defined(__linux__)

class epoll_list {
 public:
  epoll_list() {
    if (fd_ < 0) throw_errno("epoll_create1");
  }
  ~epoll_list() { ::close(fd_); }
  epoll_list(const epoll_list&) = delete;
  epoll_list& operator=(const epoll_list&) = delete;

  void watch(int fd, std::uint32_t events = EPOLLIN) const {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    if (::epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) != 0) throw_errno("epoll_ctl");
  }

  static constexpr int room = 64;
  int wait() {
    const int count = ::epoll_wait(fd_, events_, room, -1);
    if (count <= 0) throw_errno("epoll_wait");
    return count;
  }

 private:
  int fd_ = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event events_[room];
};

#endif
