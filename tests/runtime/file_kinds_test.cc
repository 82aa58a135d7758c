// descriptor with each kind of file: how it ends, and what separates the bytes that it gives.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "byte_io.h"
#include "file_ends.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "stream_pair.h"

namespace {

using namespace std::chrono_literals;
using kedge::bytes;
using kedge::descriptor;
using kedge::errc;
using kedge::fifo;
using kedge::loop;
using kedge::ownership;
using kedge::result;
using kedge::set_nonblocking;
using kedge::stream_pair;
using kedge::task;

// A task that reads parts until an error.
class reader {
 public:
  reader(loop& l, descriptor& d) {
    l.spawn([this, &d]() -> task<> { end = co_await kedge::read_parts(d, text); });
  }
  std::string text;
  std::optional<std::error_code> end;
};

// --- What separates bytes -----------------------------------------------------------------------

TEST_CASE("bytes behind an out-of-band mark are read without a further event") {
  loop l;
  const auto ends = kedge::tcp_pair();
  descriptor in(l, ends[0], ownership::owned);
  reader r(l, in);
  l.poll();
  REQUIRE(::send(ends[1], "abc", 3, 0) == 3);
  REQUIRE(::send(ends[1], "!", 1, MSG_OOB) == 1);
  REQUIRE(::send(ends[1], "def", 3, 0) == 3);
  while (r.text != "abc|def|") l.run_once();
  // The mark is behind the reader: the stream goes on as before.
  REQUIRE(::send(ends[1], "g", 1, 0) == 1);
  while (r.text != "abc|def|g|") l.run_once();
  ::close(ends[1]);
  kedge::drain(l);
  CHECK(r.end == errc::end_of_file);
}

void send_with_fd(int socket, std::string_view text, int passed) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = static_cast<socklen_t>(control.size());
  cmsghdr* const c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof passed);
  std::memcpy(CMSG_DATA(c), &passed, sizeof passed);
  REQUIRE(::sendmsg(socket, &message, 0) == static_cast<ssize_t>(text.size()));
}

TEST_CASE("bytes behind a passed descriptor are read without a further event") {
  loop l;
  stream_pair p(l);
  reader r(l, p.b);
  l.poll();
  send_with_fd(p.a.native_handle(), "ab", STDIN_FILENO);
  REQUIRE(::send(p.a.native_handle(), "cd", 2, 0) == 2);
  kedge::settle(l);
  CHECK(r.text == "ab|cd|");
  p.a.close();
  kedge::drain(l);
}

#ifdef O_DIRECT
TEST_CASE("each packet of a pipe in packet mode is read, without a further event") {
  for (const bool writer_decides : {false, true}) {
    CAPTURE(writer_decides);
    loop l;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    set_nonblocking(ends[0], true);
    if (!writer_decides) {
      for (const int end : ends) {
        REQUIRE(::fcntl(end, F_SETFL, ::fcntl(end, F_GETFL) | O_DIRECT) == 0);
      }
    }
    descriptor in(l, ends[0], ownership::owned);
    reader r(l, in);
    l.poll();
    if (writer_decides) REQUIRE(::fcntl(ends[1], F_SETFL, O_DIRECT) == 0);
    REQUIRE(::write(ends[1], "abc", 3) == 3);
    REQUIRE(::write(ends[1], "def", 3) == 3);
    kedge::settle(l);
    CHECK(r.text == "abc|def|");
    ::close(ends[1]);
    kedge::drain(l);
    CHECK(r.end == errc::end_of_file);
  }
}
#endif

// --- Messages -----------------------------------------------------------------------------------

std::vector<int> message_types() {
  std::vector<int> types{SOCK_DGRAM};
  // Darwin has no local sockets of this type.
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    types.push_back(SOCK_SEQPACKET);
  }
  return types;
}

TEST_CASE("an empty message is read as 0 bytes, and the next one after it") {
  for (const int type : message_types()) {
    CAPTURE(type);
    loop l;
    stream_pair p(l, type);
    std::optional<result<std::string>> got;
    for (const std::string_view text : {"", "x", ""}) {
      CAPTURE(text);
      REQUIRE(::send(p.a.native_handle(), text.data(), text.size(), 0) ==
              static_cast<ssize_t>(text.size()));
      l.run(kedge::read_once(p.b, got));
      CHECK(got->value() == text);
    }
  }
}

// --- FIFOs --------------------------------------------------------------------------------------

TEST_CASE("a read of a FIFO ends when its last writer leaves, during the wait or before it") {
  for (const bool nonblocking : {true, false}) {
    CAPTURE(nonblocking);
    loop l;
    const fifo f;
    const int end = f.open(O_RDONLY);
    set_nonblocking(end, nonblocking);
    descriptor in(l, end, ownership::owned);
    const int writer = f.open(O_WRONLY);
    reader r(l, in);
    l.poll();
    REQUIRE(::write(writer, "x", 1) == 1);
    while (r.text != "x|") l.run_once();
    CHECK_FALSE(r.end);
    ::close(writer);
    kedge::drain(l);
    CHECK(r.end == errc::end_of_file);

    std::optional<result<std::string>> again;
    l.run(kedge::read_once(in, again));
    CHECK(again->error() == errc::end_of_file);
    CHECK(l.run(in.readable()));
  }
}

TEST_CASE("a FIFO opened before its first writer is waited for, and ends with that writer") {
  for (const std::string_view sent : {"x", ""}) {
    CAPTURE(sent);
    loop l;
    const fifo f;
    descriptor in(l, f.open(O_RDONLY), ownership::owned);
    reader r(l, in);
    kedge::settle(l);
    CHECK_FALSE(r.end);
    const int writer = f.open(O_WRONLY);
    REQUIRE(::write(writer, sent.data(), sent.size()) == static_cast<ssize_t>(sent.size()));
    ::close(writer);
    kedge::drain(l);
    CHECK(r.text == (sent.empty() ? "" : "x|"));
    CHECK(r.end == errc::end_of_file);
  }
}

TEST_CASE("a write to a full FIFO ends with EPIPE when its last reader leaves") {
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  {
    loop l;
    const fifo f;
    const int in = f.open(O_RDONLY);
    descriptor out(l, f.open(O_WRONLY), ownership::owned);
    std::error_code end;
    l.spawn([&]() -> task<> {
      const std::string much(4096, 'x');
      for (;;) {
        const auto n = co_await out.write_some(bytes(much));
        if (n) continue;
        end = n.error();
        break;
      }
    });
    kedge::settle(l);
    CHECK_FALSE(end);
    ::close(in);
    kedge::drain(l);
    CHECK(end == std::errc::broken_pipe);
  }
  ::signal(SIGPIPE, before);
}

TEST_CASE("a wait on a FIFO that is cancelled, closed or destroyed leaves no timer behind") {
  const fifo f;
  for (const char* const how : {"closed", "cancelled", "destroyed"}) {
    CAPTURE(how);
    loop l;
    descriptor in(l, f.open(O_RDONLY), ownership::owned);
    const int keeps_open = f.open(O_WRONLY);
    {
      reader r(l, in);
      l.poll();
      CHECK(l.next_deadline());
      if (how == std::string_view("closed")) in.close();
      if (how == std::string_view("cancelled")) l.cancel();
      if (how == std::string_view("destroyed")) in = descriptor();
      kedge::drain(l);
    }
    CHECK_FALSE(l.next_deadline());
    ::close(keeps_open);
  }
}

TEST_CASE(
    "a FIFO is looked at after 10 ms, then after twice the time, at the latest after 100 ms") {
  kedge::virtual_time time;
  loop l(time);
  const fifo f;
  descriptor in(l, f.open(O_RDONLY), ownership::owned);
  const int writer = f.open(O_WRONLY);
  reader r(l, in);
  kedge::settle(l);
  for (const auto interval : {10ms, 20ms, 40ms, 80ms, 100ms, 100ms}) {
    CAPTURE(interval.count());
    CHECK(l.next_deadline() == time.now() + interval);
    time.advance(interval);
    kedge::settle(l);
    CHECK_FALSE(r.end);
  }
  ::close(writer);
  kedge::settle(l);
  CHECK_FALSE(r.end);
  time.advance(100ms);
  kedge::settle(l);
  CHECK(r.end == errc::end_of_file);
  CHECK_FALSE(l.next_deadline());
}

// --- Files that may block -----------------------------------------------------------------------

TEST_CASE("a read does not block where another holder of the file has cleared O_NONBLOCK") {
  loop l;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  set_nonblocking(ends[0], true);
  descriptor pipe_end(l, ends[0], ownership::borrowed);
  stream_pair p(l, SOCK_STREAM, true);
  for (descriptor* const in : {&pipe_end, &p.b}) {
    const bool is_pipe = in == &pipe_end;
    CAPTURE(is_pipe);
    set_nonblocking(in->native_handle(), false);
    std::optional<result<std::string>> got;
    l.spawn(kedge::read_once(*in, got));
    kedge::settle(l);
    CHECK_FALSE(got);
    REQUIRE(::write(is_pipe ? ends[1] : p.a.native_handle(), "x", 1) == 1);
    kedge::drain(l);
    CHECK(got->value() == "x");
  }
  for (const int fd : ends) ::close(fd);
}

TEST_CASE("a write does not block on a full socket whose O_NONBLOCK was cleared") {
  loop l;
  stream_pair p(l, SOCK_STREAM, true);
  set_nonblocking(p.a.native_handle(), false);
  bool written = false;
  const std::string much(1 << 20, 'x');
  l.spawn([&]() -> task<> {
    for (std::size_t done = 0; done < much.size();) {
      done += (co_await p.a.write_some(bytes(much).subspan(done))).value();
    }
    written = true;
    p.a.close();
  });
  kedge::settle(l);
  CHECK_FALSE(written);
  reader r(l, p.b);
  kedge::drain(l);
  CHECK(written);
}

TEST_CASE(
    "a write to a blocking terminal waits while its output is unread, and goes on once it is "
    "read") {
  loop l;
  const auto [master, user] = kedge::open_terminal();
  descriptor out(l, user, ownership::owned);
  termios modes{};
  REQUIRE(::tcgetattr(out.native_handle(), &modes) == 0);
  modes.c_oflag |= OPOST | ONLCR;
#ifdef XTABS
  modes.c_oflag |= XTABS;
#endif
  REQUIRE(::tcsetattr(out.native_handle(), TCSANOW, &modes) == 0);
  // More than fits, where ordinary bytes and expanded ones use the last room.
  std::string text;
  while (text.size() < 30'000) text += std::string(text.size() % 300, 'x') + "\n\t";
  text += '.';
  bool written = false;
  l.spawn([&]() -> task<> {
    for (std::size_t done = 0; done < text.size();) {
      done += (co_await out.write_some(bytes(text).subspan(done))).value();
    }
    written = true;
  });
  kedge::settle(l);
  CHECK_FALSE(written);
  descriptor in(l, master, ownership::owned);
  std::string got;
  l.run([](descriptor& d, std::string& all) -> task<> {
    std::array<std::byte, 4096> buffer{};
    while (!all.ends_with('.')) {
      const std::size_t n = (co_await d.read_some(buffer)).value();
      all.append(reinterpret_cast<const char*>(buffer.data()), n);
    }
  }(in, got));
  kedge::drain(l);
  CHECK(written);
  CHECK(got.size() >= text.size());
}

TEST_CASE("a terminal gives each line by itself, and an error when its other end is gone") {
  loop l;
  const auto [master, user] = kedge::open_terminal();
  descriptor in(l, user, ownership::owned);
  reader r(l, in);
  l.poll();
  REQUIRE(::write(master, "one\ntwo\n", 8) == 8);
  while (r.text != "one\n|two\n|") l.run_once();
  ::close(master);
  kedge::drain(l);
  CHECK(r.end);
}

// --- All of them
// ----------------------------------------------------------------------------------

TEST_CASE("each kind of stream is read to its end, with the wait before or after the bytes") {
  struct ends {
    int in;
    int out;
  };
  const fifo f;
  const auto make = [&](std::string_view kind) -> ends {
    int fds[2];
    if (kind == "fifo") {
      const int in = f.open(O_RDONLY);
      return {in, f.open(O_WRONLY)};
    }
    if (kind == "tcp") {
      const auto pair = kedge::tcp_pair();
      return {pair[0], pair[1]};
    }
    REQUIRE((kind == "pipe" ? ::pipe(fds) : ::socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) == 0);
    return {fds[0], fds[1]};
  };
  for (const std::string_view kind : {"pipe", "fifo", "unix", "tcp"}) {
    for (const bool nonblocking : {true, false}) {
      for (const auto owner : {ownership::owned, ownership::borrowed}) {
        for (const bool waits : {true, false}) {
          CAPTURE(kind);
          CAPTURE(nonblocking);
          const bool owned = owner == ownership::owned;
          CAPTURE(owned);
          CAPTURE(waits);
          loop l;
          const ends e = make(kind);
          set_nonblocking(e.in, nonblocking);
          descriptor in(l, e.in, owner);
          std::optional<reader> r;
          if (waits) {
            r.emplace(l, in);
            l.poll();
          }
          REQUIRE(::write(e.out, "text", 4) == 4);
          ::close(e.out);
          if (!waits) r.emplace(l, in);
          kedge::drain(l);
          CHECK(r->text == "text|");
          CHECK(r->end == errc::end_of_file);
          if (!owned) ::close(e.in);
        }
      }
    }
  }
}

}  // namespace
