// test_kqueue: a kqueue of one test, driven through Darwin's C interface alone.
//
// Beside it: change() and event(), which make the lists that a test passes and expects,
// comparison of events as a whole, and fd_pair, two connected fds to watch. A call that
// must not fail ends the test case if it does. Everything is closed by its destructor.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/event.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <sstream>
#include <string_view>
#include <vector>

template <class Ident>
kevent64_s change(const Ident& ident, std::int16_t filter, unsigned flags, std::uint32_t fflags = 0,
                  std::int64_t data = 0, std::uint64_t udata = 0) {
  return {static_cast<std::uint64_t>(ident),
          filter,
          static_cast<std::uint16_t>(flags),
          fflags,
          data,
          udata,
          {0, 0}};
}

// An event or a record of a change, to compare with. It has the fields of a change.
template <class Ident>
kevent64_s event(const Ident& ident, std::int16_t filter, unsigned flags, std::uint32_t fflags = 0,
                 std::int64_t data = 0, std::uint64_t udata = 0) {
  return change(ident, filter, flags, fflags, data, udata);
}

// Compares every field.
inline bool operator==(const kevent64_s& a, const kevent64_s& b) {
  return a.ident == b.ident && a.filter == b.filter && a.flags == b.flags && a.fflags == b.fflags &&
         a.data == b.data && a.udata == b.udata && a.ext[0] == b.ext[0] && a.ext[1] == b.ext[1];
}

using event_list = std::vector<kevent64_s>;

// How a failed check shows an event: {ident, filter, flags, fflags, data, udata, ext[0], ext[1]}.
template <>
struct doctest::StringMaker<kevent64_s> {
  static String convert(const kevent64_s& e) {
    std::ostringstream out;
    out << '{' << e.ident << ", " << e.filter << ", 0x" << std::hex << e.flags << ", 0x" << e.fflags
        << std::dec << ", " << e.data << ", " << e.udata << ", " << e.ext[0] << ", " << e.ext[1]
        << '}';
    return out.str().c_str();
  }
};
template <>
struct doctest::StringMaker<event_list> {
  static String convert(const event_list& events) {
    String out = "[";
    for (const kevent64_s& e : events) out += StringMaker<kevent64_s>::convert(e);
    return out + "]";
  }
};

// Runs the test twice: with 0, and with EV_CLEAR.
inline unsigned level_or_clear() {
  unsigned mode = 0;
  SUBCASE("level-triggered") {}
  SUBCASE("EV_CLEAR") {
    mode = EV_CLEAR;
  }
  return mode;
}

class test_kqueue {
 public:
  test_kqueue() : fd_(::kqueue()) { REQUIRE(fd_ >= 0); }
  test_kqueue(const test_kqueue&) = delete;
  test_kqueue& operator=(const test_kqueue&) = delete;
  ~test_kqueue() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd() const { return fd_; }
  void close() {
    REQUIRE(::close(fd_) == 0);
    fd_ = -1;
  }

  // Makes one change. Returns 0 or its errno.
  int apply(const kevent64_s& c) const {
    return kevent64(fd_, &c, 1, nullptr, 0, 0, nullptr) == 0 ? 0 : errno;
  }
  template <class Ident>
  int apply(const Ident& ident, std::int16_t filter, unsigned flags, std::uint32_t fflags = 0,
            std::int64_t data = 0, std::uint64_t udata = 0) const {
    return apply(change(ident, filter, flags, fflags, data, udata));
  }

  // Takes up to `room` events that are ready, without waiting.
  event_list now(int room = 16) const {
    const timespec zero{0, 0};
    return collect(room, &zero);
  }
  // Waits for an event, at most 30 seconds, and takes up to `room`.
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

// Returns the event of `filter` in `events`, which must hold exactly one.
inline const kevent64_s& only(const event_list& events, std::int16_t filter) {
  const kevent64_s* found = nullptr;
  for (const kevent64_s& e : events) {
    if (e.filter != filter) continue;
    CAPTURE(events);
    REQUIRE(found == nullptr);
    found = &e;
  }
  CAPTURE(events);
  CAPTURE(filter);
  REQUIRE(found != nullptr);
  return *found;
}

// Two connected fds. The destructor closes those that are still open.
class fd_pair {
 public:
  static fd_pair of_pipe() {
    fd_pair p(-1, -1);
    REQUIRE(::pipe(p.fd_) == 0);
    return p;
  }
  static fd_pair of_sockets(int type = SOCK_STREAM) {
    fd_pair p(-1, -1);
    REQUIRE(::socketpair(AF_UNIX, type, 0, p.fd_) == 0);
    return p;
  }
  fd_pair(int first, int second) : fd_{first, second} {}
  fd_pair(fd_pair&& other) noexcept {
    for (int i = 0; i < 2; ++i) {
      fd_[i] = other.fd_[i];
      other.fd_[i] = -1;
    }
  }
  fd_pair& operator=(fd_pair&&) = delete;
  ~fd_pair() {
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
  // Reads until nothing more arrives at once.
  void drain(int i) const {
    REQUIRE(::fcntl(fd_[i], F_SETFL, ::fcntl(fd_[i], F_GETFL) | O_NONBLOCK) == 0);
    std::vector<char> bytes(65536);
    while (::read(fd_[i], bytes.data(), bytes.size()) > 0) {
    }
  }

 private:
  int fd_[2];
};
