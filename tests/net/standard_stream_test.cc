// standard_stream: pipes, files and terminals as standard input and output.
#include "kedge/net/standard_stream.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "kedge/net/any_stream.h"
#include "kedge/net/reader.h"
#include "kedge/net/write_all.h"
#include "kedge/runtime/loop.h"
#include "tests/runtime/drain.h"
#include "tests/temporary_folder.h"
#include "text.h"

namespace kedge::net {
namespace {

static_assert(stream<standard_stream>);

class open_fd {
 public:
  explicit open_fd(int fd) : fd_(fd) { REQUIRE(fd_ >= 0); }
  open_fd(const open_fd&) = delete;
  open_fd& operator=(const open_fd&) = delete;
  ~open_fd() { close(); }
  int get() const noexcept { return fd_; }
  void close() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

struct pipe_files {
  pipe_files() : pipe_files(make()) {}
  open_fd out;  // is read
  open_fd in;   // is written to

 private:
  static std::array<int, 2> make() {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    return ends;
  }
  explicit pipe_files(const std::array<int, 2>& ends) : out(ends[0]), in(ends[1]) {}
};

// A terminal, and the program that shows it.
struct terminal {
  terminal() : shown(::posix_openpt(O_RDWR | O_NOCTTY)), tty(open_other(shown.get())) {}
  open_fd shown;
  open_fd tty;

 private:
  static int open_other(int fd) {
    REQUIRE(::grantpt(fd) == 0);
    REQUIRE(::unlockpt(fd) == 0);
    return ::open(::ptsname(fd), O_RDWR | O_NOCTTY);
  }
};

std::string read_all(int fd) {
  std::string text;
  char block[4096];
  for (ssize_t n = ::read(fd, block, sizeof block); n > 0; n = ::read(fd, block, sizeof block)) {
    text.append(block, static_cast<std::size_t>(n));
  }
  return text;
}
task<std::string> read_to_end(standard_stream& s) {
  std::string text;
  std::array<std::byte, 7> room;
  while (const auto n = co_await s.read_some(room)) text += text_of(std::span(room).first(*n));
  co_return text;
}
bool is_nonblocking(int fd) {
  return (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

TEST_CASE("standard streams that are pipes are waited for, and stay as they were") {
  loop l;
  pipe_files in, out;
  standard_stream s(l, in.out.get(), out.in.get());
  std::string got;
  l.spawn([&]() -> task<> {
    reader lines(s);
    got = std::string(*co_await lines.line(100));
  });
  settle(l);
  REQUIRE(::write(in.in.get(), "hello\n", 6) == 6);
  drain(l);
  CHECK(got == "hello");
  CHECK(l.run(write_all(s, bytes_of("answer"))).has_value());
  in.in.close();
  std::array<std::byte, 8> room;
  CHECK(l.run(s.read_some(room)).error() == kedge::errc::end_of_file);
  CHECK_FALSE(is_nonblocking(in.out.get()));
  CHECK_FALSE(is_nonblocking(out.in.get()));
  s.close();
  out.in.close();  // it was open until now
  CHECK(read_all(out.out.get()) == "answer");
}

TEST_CASE("standard streams that are files are read and written by a thread") {
  loop l;
  temporary_folder folder;
  open_fd in(::open((folder / "in").c_str(), O_RDWR | O_CREAT, 0600));
  open_fd out(::open((folder / "out").c_str(), O_RDWR | O_CREAT, 0600));
  REQUIRE(::write(in.get(), "0123456789", 10) == 10);
  REQUIRE(::lseek(in.get(), 0, SEEK_SET) == 0);
  standard_stream s(l, in.get(), out.get());
  CHECK(l.run(read_to_end(s)) == "0123456789");
  CHECK(l.run(write_all(s, bytes_of("written"))).has_value());
  CHECK(*l.run(s.read_some({})) == 0);
  CHECK(*l.run(s.write_some({})) == 0);
  REQUIRE(::lseek(out.get(), 0, SEEK_SET) == 0);
  CHECK(read_all(out.get()) == "written");
}

TEST_CASE(
    "a read of a file that a thread makes is exclusive, and ends with its value if cancelled") {
  loop l;
  temporary_folder folder;
  open_fd in(::open((folder / "in").c_str(), O_RDWR | O_CREAT, 0600));
  REQUIRE(::write(in.get(), "0123456789", 10) == 10);
  REQUIRE(::lseek(in.get(), 0, SEEK_SET) == 0);
  standard_stream s(l, in.get(), in.get());
  std::array<std::byte, 4> room;
  std::size_t taken = 0;
  std::error_code second;
  l.spawn([&]() -> task<> { taken = (co_await s.read_some(room)).value_or(0); });
  l.spawn([&]() -> task<> {
    std::array<std::byte, 4> other;
    second = (co_await s.read_some(other)).error();
  });
  l.poll();
  CHECK(second == kedge::errc::already_awaited);
  // The thread may have read, or not have begun.
  l.cancel();
  drain(l);
  const std::size_t at = static_cast<std::size_t>(::lseek(in.get(), 0, SEEK_CUR));
  CHECK(at == taken);
}

TEST_CASE("a transfer that the system refuses to a thread gives the system's error") {
  loop l;
  temporary_folder folder;
  open_fd file(::open((folder / "file").c_str(), O_RDONLY | O_CREAT, 0600));
  standard_stream s(l, file.get(), file.get());
  CHECK(l.run(s.write_some(bytes_of("x"))).error() == std::errc::bad_file_descriptor);
}

// SIGPIPE has its default, which ends the program.
TEST_CASE("standard output whose reader has gone gives EPIPE") {
  loop l;
  pipe_files in, out;
  standard_stream s(l, in.out.get(), out.in.get());
  out.out.close();
  CHECK(l.run(s.write_some(bytes_of("x"))).error() == std::errc::broken_pipe);
}

// UBSan, which runs with AddressSanitizer, looks at objects by way of pipes. It cannot make them
// while the process may have no files.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEDGE_TEST_NEEDS_FDS
#endif
#endif
#if !defined(KEDGE_TEST_NEEDS_FDS) && !defined(__SANITIZE_ADDRESS__)
// poll(2) refuses to look at more files than a process may have, and the descriptor then waits.
class without_poll {
 public:
  without_poll() {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const rlimit none{0, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  }
  without_poll(const without_poll&) = delete;
  without_poll& operator=(const without_poll&) = delete;
  ~without_poll() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_CASE("a device that the kqueue refuses to wait for is left to a thread") {
  loop l;
  open_fd zero(::open("/dev/zero", O_RDONLY));
  open_fd null(::open("/dev/null", O_WRONLY));
  standard_stream s(l, zero.get(), null.get());
  std::array<std::byte, 4> room;
  room.fill(std::byte{1});
  result<std::size_t> got = 0u, written = 0u;
  l.spawn([&]() -> task<> { got = co_await s.read_some(room); });
  l.spawn([&]() -> task<> { written = co_await s.write_some(bytes_of("gone")); });
  {
    const without_poll none;
    while (l.step()) continue;
  }
  drain(l);
  CHECK(got.value_or(0) == 4);
  CHECK(room[3] == std::byte{0});
  CHECK(written.value_or(0) == 4);
  CHECK(l.run(s.read_some(room)).value_or(0) == 4);
}
#endif

TEST_CASE("a program that writes to a slow terminal waits, and its loop goes on") {
  loop l;
  terminal t;
  termios before{};
  REQUIRE(::tcgetattr(t.tty.get(), &before) == 0);
  standard_stream s(l, t.tty.get(), t.tty.get());
  const std::string text(20'000, 'x');
  std::size_t written = 0;
  bool has_ended = false;
  l.spawn([&]() -> task<> {
    CHECK((co_await write_all(s, bytes_of(text), written)).has_value());
    has_ended = true;
  });
  settle(l);
  CHECK(written > 0);
  CHECK_FALSE(has_ended);
  std::size_t shown = 0;
  char block[4096];
  while (shown < text.size()) {
    const ssize_t n = ::read(t.shown.get(), block, sizeof block);
    REQUIRE(n > 0);
    shown += static_cast<std::size_t>(n);
    settle(l);
  }
  drain(l);
  CHECK(has_ended);
  termios after{};
  REQUIRE(::tcgetattr(t.tty.get(), &after) == 0);
  CHECK(after.c_lflag == before.c_lflag);
  CHECK(after.c_oflag == before.c_oflag);
  CHECK_FALSE(is_nonblocking(t.tty.get()));
}

TEST_CASE("a line that is typed into a terminal is read") {
  loop l;
  terminal t;
  standard_stream s(l, t.tty.get(), t.tty.get());
  std::string got;
  l.spawn([&]() -> task<> {
    reader lines(s);
    got = std::string(*co_await lines.line(100));
  });
  settle(l);
  CHECK(got.empty());
  REQUIRE(::write(t.shown.get(), "typed\n", 6) == 6);
  drain(l);
  CHECK(got == "typed");
}

TEST_CASE("a standard stream refuses shutdown_write, and a closed one all transfers") {
  loop l;
  pipe_files p;
  std::optional<standard_stream> s(std::in_place, l, p.out.get(), p.in.get());
  std::array<std::byte, 1> room;
  CHECK(s->shutdown_write().error() == std::errc::operation_not_supported);
  std::error_code end;
  l.spawn([&]() -> task<> { end = (co_await s->read_some(room)).error(); });
  settle(l);
  CHECK(l.run(s->read_some(room)).error() == kedge::errc::already_awaited);
  auto older = s->write_some(room);
  s->close();
  settle(l);
  CHECK(end == kedge::errc::closed);
  CHECK(l.run(s->read_some(room)).error() == kedge::errc::closed);
  CHECK(l.run(s->write_some(room)).error() == kedge::errc::closed);
  s.reset();
  CHECK(l.run(std::move(older)).error() == kedge::errc::closed);
  CHECK_THROWS_AS(standard_stream(l, -1, p.in.get()), std::system_error);
}

}  // namespace
}  // namespace kedge::net
