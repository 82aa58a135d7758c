// A kqueue of one test, through Darwin's C interface alone, and pairs of descriptors to watch.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/event.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string_view>
#include <vector>

inline kevent64_s change(std::uint64_t ident, std::int16_t filter, unsigned flags,
                         std::uint32_t fflags = 0, std::int64_t data = 0, std::uint64_t udata = 0) {
  return {ident, filter, static_cast<std::uint16_t>(flags), fflags, data, udata, {0, 0}};
}
inline kevent64_s change(int fd, std::int16_t filter, unsigned flags, std::uint32_t fflags = 0,
                         std::int64_t data = 0, std::uint64_t udata = 0) {
  return change(static_cast<std::uint64_t>(fd), filter, flags, fflags, data, udata);
}

// Runs the test twice: 0, and EV_CLEAR.
inline unsigned level_or_clear() {
  unsigned mode = 0;
  SUBCASE("level-triggered") {}
  SUBCASE("EV_CLEAR") {
    mode = EV_CLEAR;
  }
  return mode;
}

using event_list = std::vector<kevent64_s>;

class kqueue_of_test {
 public:
  kqueue_of_test() : fd_(::kqueue()) { REQUIRE(fd_ >= 0); }
  kqueue_of_test(const kqueue_of_test&) = delete;
  kqueue_of_test& operator=(const kqueue_of_test&) = delete;
  ~kqueue_of_test() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd() const { return fd_; }
  void close() {
    REQUIRE(::close(fd_) == 0);
    fd_ = -1;
  }

  // One change. Returns 0 or its errno.
  int apply(const kevent64_s& c) const {
    return kevent64(fd_, &c, 1, nullptr, 0, 0, nullptr) == 0 ? 0 : errno;
  }
  template <class Ident>
  int apply(const Ident& ident, std::int16_t filter, unsigned flags, std::uint32_t fflags = 0,
            std::int64_t data = 0, std::uint64_t udata = 0) const {
    return apply(change(ident, filter, flags, fflags, data, udata));
  }

  // What is there now.
  event_list now(int room = 16) const {
    const timespec zero{0, 0};
    return collect(room, &zero);
  }
  // Waits for something.
  event_list next(int room = 16) const {
    const timespec long_enough{30, 0};
    event_list got = collect(room, &long_enough);
    REQUIRE(!got.empty());
    return got;
  }

 private:
  event_list collect(int room, const timespec* limit) const {
    event_list got(static_cast<std::size_t>(room));
    const int n = kevent64(fd_, nullptr, 0, got.data(), room, 0, limit);
    REQUIRE(n >= 0);
    got.resize(static_cast<std::size_t>(n));
    return got;
  }

  int fd_;
};

// The event of (filter) in a list, which must be there once.
inline const kevent64_s& only(const event_list& events, std::int16_t filter) {
  const kevent64_s* found = nullptr;
  for (const kevent64_s& e : events) {
    if (e.filter != filter) continue;
    REQUIRE(found == nullptr);
    found = &e;
  }
  REQUIRE(found != nullptr);
  return *found;
}

// Two connected descriptors, closed at the end unless closed before.
class pair_of_test {
 public:
  static pair_of_test of_pipe() {
    pair_of_test p(-1, -1);
    REQUIRE(::pipe(p.fd_) == 0);
    return p;
  }
  static pair_of_test of_sockets(int type = SOCK_STREAM) {
    pair_of_test p(-1, -1);
    REQUIRE(::socketpair(AF_UNIX, type, 0, p.fd_) == 0);
    return p;
  }
  pair_of_test(int first, int second) : fd_{first, second} {}
  pair_of_test(pair_of_test&& other) noexcept {
    for (int i = 0; i < 2; ++i) {
      fd_[i] = other.fd_[i];
      other.fd_[i] = -1;
    }
  }
  pair_of_test& operator=(pair_of_test&&) = delete;
  ~pair_of_test() {
    close(0);
    close(1);
  }

  // [0] is a pipe's reading end.
  int operator[](int i) const { return fd_[i]; }
  void close(int i) {
    if (fd_[i] >= 0) ::close(fd_[i]);
    fd_[i] = -1;
  }
  void put(int i, std::string_view text) const {
    REQUIRE(::write(fd_[i], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  void take(int i, std::size_t count) const {
    std::vector<char> bytes(count);
    REQUIRE(::read(fd_[i], bytes.data(), count) == static_cast<ssize_t>(count));
  }
  // Writes until there is no room.
  void fill(int i) const {
    REQUIRE(::fcntl(fd_[i], F_SETFL, ::fcntl(fd_[i], F_GETFL) | O_NONBLOCK) == 0);
    const std::vector<char> bytes(4096);
    while (::write(fd_[i], bytes.data(), bytes.size()) > 0) {
    }
    REQUIRE(errno == EAGAIN);
  }
  void drain(int i) const {
    REQUIRE(::fcntl(fd_[i], F_SETFL, ::fcntl(fd_[i], F_GETFL) | O_NONBLOCK) == 0);
    std::vector<char> bytes(65536);
    while (::read(fd_[i], bytes.data(), bytes.size()) > 0) {
    }
  }

 private:
  int fd_[2];
};
