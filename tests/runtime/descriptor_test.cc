#include "kedge/runtime/descriptor.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "byte_io.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "stream_pair.h"

namespace {

using namespace std::chrono_literals;
using kedge::bytes;
using kedge::descriptor;
using kedge::drain;
using kedge::errc;
using kedge::loop;
using kedge::ownership;
using kedge::read_once;
using kedge::result;
using kedge::stream_pair;
using kedge::task;
using kedge::virtual_time;

struct pipe_ends {
  explicit pipe_ends(int flags = 0) {
    REQUIRE(::pipe(fd.data()) == 0);
    for (const int end : fd) ::fcntl(end, F_SETFL, ::fcntl(end, F_GETFL) | flags);
  }
  std::array<int, 2> fd{};
};
// Ignores SIGPIPE, whose disposition it restores.
class sigpipe_ignored {
 public:
  sigpipe_ignored() : before_(std::signal(SIGPIPE, SIG_IGN)) {}
  sigpipe_ignored(const sigpipe_ignored&) = delete;
  sigpipe_ignored& operator=(const sigpipe_ignored&) = delete;
  ~sigpipe_ignored() { std::signal(SIGPIPE, before_); }

 private:
  void (*before_)(int);
};
task<std::string> read_all(descriptor& d, std::size_t at_once = 4096) {
  std::string all;
  std::vector<std::byte> buffer(at_once);
  for (;;) {
    const auto n = co_await d.read_some(buffer);
    if (!n) {
      CHECK(n.error() == errc::end_of_file);
      co_return all;
    }
    CHECK(*n > 0);
    all.append(reinterpret_cast<const char*>(buffer.data()), *n);
  }
}
task<> write_all(descriptor& d, std::string_view text) {
  while (!text.empty()) {
    const auto n = co_await d.write_some(bytes(text));
    REQUIRE(n);
    text.remove_prefix(*n);
  }
}
task<> write_and_close(descriptor& d, std::string_view text) {
  co_await write_all(d, text);
  d.close();
}
std::string long_text(std::size_t size) {
  std::string s(size, ' ');
  for (std::size_t i = 0; i < size; ++i) s[i] = static_cast<char>('a' + (i * i / 7) % 26);
  return s;
}

TEST_CASE("read_some() waits for bytes, then for the end of the stream") {
  for (const bool nonblocking : {true, false}) {
    CAPTURE(nonblocking);
    loop l;
    stream_pair p(l, SOCK_STREAM, nonblocking);
    std::optional<result<std::string>> first, second;
    l.spawn([&]() -> task<> {
      co_await read_once(p.b, first);
      co_await read_once(p.b, second);
    });
    l.poll();
    CHECK_FALSE(first);
    l.run(write_all(p.a, "hello"));
    while (!first) l.run_once();
    CHECK(first->value() == "hello");
    CHECK_FALSE(second);
    p.a.close();
    drain(l);
    REQUIRE(second);
    CHECK(second->error() == errc::end_of_file);
  }
}

TEST_CASE("megabytes in both directions of a stream at once arrive whole") {
  for (const bool nonblocking : {true, false}) {
    for (const std::size_t at_once : {std::size_t{777}, std::size_t{1} << 20}) {
      CAPTURE(nonblocking);
      CAPTURE(at_once);
      loop l;
      stream_pair p(l, SOCK_STREAM, nonblocking);
      const std::string there = long_text(3'000'000), back = long_text(1'000'001);
      l.run([](stream_pair& s, const std::string& t, const std::string& b,
               std::size_t size) -> task<> {
        const auto send = [](descriptor& d, const std::string& text) -> task<> {
          co_await write_all(d, text);
          ::shutdown(d.native_handle(), SHUT_WR);
        };
        auto [x, y, got_there, got_back] = co_await kedge::when_all(
            send(s.a, t), send(s.b, b), read_all(s.b, size), read_all(s.a, size));
        CHECK(got_there == t);
        CHECK(got_back == b);
      }(p, there, back, at_once));
    }
  }
}

TEST_CASE("write_some() waits for room in a pipe, and leaves its O_NONBLOCK alone") {
  for (const int flags : {0, O_NONBLOCK}) {
    CAPTURE(flags);
    loop l;
    const pipe_ends ends(flags);
    descriptor in(l, ends.fd[0], ownership::owned), out(l, ends.fd[1], ownership::owned);
    const std::string text = long_text(1'000'000);
    l.run([](descriptor& r, descriptor& w, const std::string& t) -> task<> {
      auto [got, none] = co_await kedge::when_all(read_all(r), write_and_close(w, t));
      CHECK(got == t);
    }(in, out, text));
    CHECK((::fcntl(ends.fd[0], F_GETFL) & O_NONBLOCK) == flags);
  }
}

TEST_CASE("short messages of a datagram socket are all read, without a new event between them") {
  std::vector<int> types{SOCK_DGRAM};
  // Darwin has no local sockets of this type.
  if (int ends[2]; ::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    types.push_back(SOCK_SEQPACKET);
  } else {
    REQUIRE(errno == EPROTONOSUPPORT);
  }
  for (const int type : types) {
    CAPTURE(type);
    virtual_time time;
    loop l(time);
    stream_pair p(l, type);
    for (const char* text : {"one", "two", "three"}) {
      CAPTURE(text);
      REQUIRE(::send(p.a.native_handle(), text, std::string_view(text).size(), 0) > 0);
    }
    std::string all;
    const auto r = l.run(kedge::with_timeout(10s, [](descriptor& d, std::string& out) -> task<> {
      for (int i = 0; i < 3; ++i) {
        std::optional<result<std::string>> one;
        co_await read_once(d, one);
        out += one->value() + " ";
      }
    }(p.b, all)));
    CHECK(r);
    CHECK(all == "one two three ");
  }
}

TEST_CASE("a regular file is always ready, and reading it ends with end_of_file") {
  loop l;
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  descriptor d(l, ::fileno(file), ownership::borrowed);
  const std::string text = long_text(10'000);
  l.run(write_all(d, text));
  ::lseek(d.native_handle(), 0, SEEK_SET);
  CHECK(l.run(read_all(d)) == text);
  CHECK(l.run(d.readable()).has_value());
  CHECK(l.run(d.writable()).has_value());
  d.close();
  CHECK(std::fclose(file) == 0);
}

TEST_CASE("devices that the kernel cannot watch are read and written without waiting") {
  for (const int flags : {0, O_NONBLOCK}) {
    CAPTURE(flags);
    virtual_time time;
    loop l(time);
    descriptor zero(l, ::open("/dev/zero", O_RDONLY | flags), ownership::owned);
    std::optional<result<std::string>> got;
    CHECK(l.run(kedge::with_timeout(10s, read_once(zero, got))));
    REQUIRE(got);
    CHECK(got->value().size() == 64);
    descriptor null(l, ::open("/dev/null", O_RDWR | flags), ownership::owned);
    CHECK(l.run(kedge::with_timeout(10s, write_all(null, "x"))));
    CHECK(l.run(kedge::with_timeout(10s, read_all(null))).value().empty());
  }
}

TEST_CASE("readable() asks the system, so the caller may read by itself between waits") {
  virtual_time time;
  loop l(time);
  for (const bool nonblocking : {true, false}) {
    CAPTURE(nonblocking);
    stream_pair p(l, SOCK_STREAM, nonblocking);
    CHECK(l.run(p.a.writable()));
    CHECK(l.run(kedge::with_timeout(1us, p.b.readable())).error() == errc::timed_out);
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      bool ready = false;
      l.spawn([&]() -> task<> {
        CHECK(co_await p.b.readable());
        ready = true;
      });
      l.poll();
      CHECK_FALSE(ready);
      l.run(write_all(p.a, "xy"));
      while (!ready) l.run_once();
      CHECK(l.run(p.b.readable()));
      char c[2];
      CHECK(::read(p.b.native_handle(), c, 2) == 2);
      CHECK(l.run(kedge::with_timeout(1us, p.b.readable())).error() == errc::timed_out);
    }
    p.a.close();
    CHECK(l.run(p.b.readable()));  // at the end of the stream
    CHECK(l.run(p.b.readable()));  // and again
  }
}

TEST_CASE("a descriptor that has drained the fd gets bytes that another one was notified of") {
  virtual_time time;
  loop l(time);
  stream_pair p(l);
  descriptor other(l, p.b.native_handle(), ownership::borrowed);
  CHECK(l.run(kedge::with_timeout(1us, p.b.readable())).error() == errc::timed_out);
  std::array<std::byte, 8> room;
  CHECK(l.run(p.a.write_some(bytes("x"))).value() == 1);
  CHECK(l.run(other.read_some(room)).value() == 1);
  CHECK(l.run(p.a.write_some(bytes("yz"))).value() == 2);
  l.poll();  // the event arrives while no task waits
  const auto got = l.run(kedge::with_timeout(1s, other.read_some(room)));
  REQUIRE(got);
  CHECK(*got == 2);
}

TEST_CASE("an empty buffer transfers 0 bytes at once") {
  loop l;
  stream_pair p(l);
  CHECK(l.run(p.a.read_some({})).value() == 0);
  CHECK(l.run(p.a.write_some({})).value() == 0);
}

TEST_CASE("a closed fd throws EBADF, and errors of reads and writes are results") {
  loop l;
  CHECK_THROWS_AS(descriptor(l, -1, ownership::borrowed), std::system_error);
  const sigpipe_ignored ignored;
  stream_pair p(l);
  p.b.close();
  CHECK(l.run(p.a.write_some(bytes("x"))).error() == std::errc::broken_pipe);
  descriptor folder(l, ::open("/", O_RDONLY), ownership::owned);
  std::array<std::byte, 8> buffer{};
  CHECK(l.run(folder.read_some(buffer)).error() == std::errc::is_a_directory);
}

TEST_CASE("of two readers of a blocking file, the one that finds it drained waits on") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const int twin = ::dup(ends[0]);
  REQUIRE(twin >= 0);
  loop l;
  descriptor first(l, ends[0], ownership::owned);
  descriptor second(l, twin, ownership::owned);
  std::string got;
  const auto read_one = [&](descriptor& d) -> task<> {
    std::array<std::byte, 1> byte{};
    const auto n = co_await d.read_some(byte);
    CHECK(n.has_value());
    got += static_cast<char>(byte[0]);
  };
  l.spawn(read_one, std::ref(first));
  l.spawn(read_one, std::ref(second));
  l.poll();
  l.poll();
  for (const std::string_view text : {"x", "y"}) {
    CAPTURE(text);
    REQUIRE(::write(ends[1], text.data(), 1) == 1);
    const std::size_t before = got.size();
    while (got.size() == before) l.run_once();
    l.poll();
  }
  CHECK(got == "xy");
  ::close(ends[1]);
}

TEST_CASE("a second reader gets already_awaited, while a writer may wait beside the first") {
  loop l;
  stream_pair p(l);
  std::optional<result<std::string>> first, second;
  l.spawn(read_once(p.b, first));
  l.spawn(read_once(p.b, second));
  l.poll();
  REQUIRE(second);
  CHECK(second->error() == errc::already_awaited);
  CHECK_FALSE(first);
  CHECK(l.run(p.b.writable()));
  l.run(write_all(p.a, "x"));
  drain(l);
  CHECK(first->value() == "x");
}

TEST_CASE("of two descriptors of one fd the second reads once the first does not wait") {
  loop l;
  stream_pair p(l);
  auto first = std::make_unique<descriptor>(l, p.b.native_handle(), ownership::borrowed);
  descriptor second(l, p.b.native_handle(), ownership::borrowed);
  std::optional<result<std::string>> by_first, by_second;
  l.spawn(read_once(*first, by_first));
  l.poll();
  l.run(read_once(second, by_second));
  CHECK(by_second->error() == errc::already_awaited);
  l.run(write_all(p.a, "x"));
  drain(l);
  CHECK(by_first->value() == "x");
  for (const char* const state : {"the first is idle", "the first is gone"}) {
    CAPTURE(state);
    by_second.reset();
    l.spawn(read_once(second, by_second));
    l.poll();
    CHECK_FALSE(by_second);
    l.run(write_all(p.a, "y"));
    drain(l);
    CHECK(by_second->value() == "y");
    first.reset();
  }
}

TEST_CASE("a second reader does not take the bytes for which the first was woken") {
  loop l;
  stream_pair p(l);
  std::optional<result<std::string>> first, second;
  l.spawn(read_once(p.b, first));
  l.poll();
  l.run(write_all(p.a, "x"));
  // Runs before the first reader's turn, when the event may have arrived.
  l.spawn([&]() -> task<> {
    while (!first && !second) {
      second.reset();
      co_await read_once(p.b, second);
      if (second->has_value()) break;
      if (!first) second.reset();
      co_await kedge::yield();
    }
  });
  while (!first) l.run_once();
  CHECK(first->value() == "x");
  l.cancel();
  drain(l);
}

TEST_CASE("close() ends the waits in both directions with errc::closed") {
  loop l;
  stream_pair p(l);
  std::optional<result<std::string>> read;
  std::error_code written, later;
  l.spawn(read_once(p.a, read));
  l.spawn([&]() -> task<> {
    const std::string much = long_text(1'000'000);
    for (;;) {
      const auto n = co_await p.a.write_some(bytes(much));
      if (n) continue;
      written = n.error();
      break;
    }
    later = (co_await p.a.writable()).error();
  });
  kedge::settle(l);
  p.a.close();
  CHECK_FALSE(static_cast<bool>(p.a));
  CHECK_FALSE(read);
  drain(l);
  REQUIRE(read);
  CHECK(read->error() == errc::closed);
  CHECK(written == errc::closed);
  CHECK(later == errc::closed);
  p.a.close();
}

TEST_CASE(
    "an awaitable made before its descriptor was closed or destroyed ends with errc::closed") {
  loop l;
  auto p = std::make_unique<stream_pair>(l);
  std::array<std::byte, 8> buffer{};
  auto of_closed = p->a.readable();
  auto of_destroyed = p->b.read_some(buffer);
  auto dropped = p->b.writable();
  p->a.close();
  CHECK(l.run(std::move(of_closed)).error() == errc::closed);
  p.reset();
  CHECK(l.run(std::move(of_destroyed)).error() == errc::closed);
}

TEST_CASE("a read that fails says its name, its fd and the place of value()") {
  loop l;
  stream_pair p(l);
  const int fd = p.b.native_handle();
  std::array<std::byte, 8> buffer{};
  p.a.close();
  std::string text;
  try {
    static_cast<void>(l.run(p.b.read_some(buffer)).value());
  } catch (const std::system_error& e) {
    text = e.what();
  }
  CHECK(text.starts_with("read_some fd " + std::to_string(fd) + ", at "));
  CHECK(text.find("descriptor_test.cc:") != text.npos);
  CHECK(text.ends_with(": end of file"));
}

TEST_CASE("moving a descriptor keeps its wait, assigning over it ends the wait as closed") {
  loop l;
  stream_pair p(l);
  std::optional<result<std::string>> got;
  l.spawn(read_once(p.b, got));
  l.poll();
  descriptor moved = std::move(p.b);
  CHECK_FALSE(static_cast<bool>(p.b));
  l.run(write_all(p.a, "x"));
  drain(l);
  CHECK(got->value() == "x");
  got.reset();
  l.spawn(read_once(moved, got));
  l.poll();
  moved = descriptor();
  drain(l);
  CHECK(got->error() == errc::closed);
}

TEST_CASE("destroying a descriptor ends its wait with errc::closed") {
  loop l;
  auto p = std::make_unique<stream_pair>(l);
  std::optional<result<std::string>> got;
  l.spawn(read_once(p->b, got));
  l.poll();
  p.reset();
  drain(l);
  CHECK(got->error() == errc::closed);
}

TEST_CASE("a close() at any moment of a read ends it with the bytes or with errc::closed") {
  int read = 0, closed = 0;
  for (int turns = 0; turns < 200; ++turns) {
    CAPTURE(turns);
    loop l;
    stream_pair p(l);
    std::optional<result<std::string>> got;
    l.spawn(read_once(p.b, got));
    l.spawn([&]() -> task<> {
      co_await write_all(p.a, "x");
      for (int i = 0; i < turns; ++i) co_await kedge::yield();
      p.b.close();
    });
    drain(l);
    REQUIRE(got);
    read += got->has_value();
    closed += !got->has_value() && got->error() == errc::closed;
  }
  CHECK(read + closed == 200);
  CHECK(closed > 0);
}

TEST_CASE("an owned fd is closed with its descriptor, a borrowed one is not") {
  loop l;
  const auto fds = kedge::socket_pair();
  {
    const descriptor d(l, fds[0], ownership::borrowed);
  }
  CHECK(::fcntl(fds[0], F_GETFD) >= 0);
  {
    const descriptor d(l, fds[0], ownership::owned);
  }
  CHECK(::fcntl(fds[0], F_GETFD) < 0);
  ::close(fds[1]);
}

TEST_CASE("closing an owned descriptor leaves no change and no event to the loop") {
  loop l;
  stream_pair p(l);
  std::optional<result<std::string>> got;
  l.spawn(read_once(p.b, got));
  l.poll();
  l.run(write_all(p.a, "text"));
  drain(l);
  REQUIRE(got);
  while (l.poll()) {
  }
  p.b.close();
  CHECK_FALSE(l.poll());
}

TEST_CASE("events of a closed fd do not reach a new descriptor of the same fd") {
  loop l;
  for (const bool submitted : {true, false}) {
    CAPTURE(submitted);
    auto p = std::make_unique<stream_pair>(l);
    const int reused = p->b.native_handle();
    std::optional<result<std::string>> old, fresh;
    l.spawn(read_once(p->b, old));
    if (submitted) l.poll();
    p->b.close();
    const auto fds = kedge::socket_pair();
    REQUIRE((fds[0] == reused || fds[1] == reused));
    descriptor again(l, reused, ownership::owned);
    descriptor peer(l, fds[0] == reused ? fds[1] : fds[0], ownership::owned);
    l.spawn(read_once(again, fresh));
    l.poll();
    l.poll();
    REQUIRE(old);
    CHECK(old->error() == errc::closed);
    CHECK_FALSE(fresh);
    l.run(write_all(peer, "fresh"));
    drain(l);
    CHECK(fresh->value() == "fresh");
  }
}

TEST_CASE("waits on a descriptor that outlives its loop end with loop_gone") {
  auto l = std::make_unique<loop>();
  stream_pair used(*l), unused(*l);
  CHECK(l->run(used.a.writable()));
  l->spawn(used.a.readable());
  l->poll();
  l.reset();
  loop other;
  std::optional<result<std::string>> got;
  other.run(read_once(used.a, got));
  CHECK(got->error() == errc::loop_gone);
  other.run(read_once(unused.a, got));
  CHECK(got->error() == errc::loop_gone);
}

TEST_CASE("bytes that arrive after a cancelled read are for the next reader") {
  virtual_time time;
  loop l(time);
  for (const bool nonblocking : {true, false}) {
    CAPTURE(nonblocking);
    stream_pair p(l, SOCK_STREAM, nonblocking);
    std::array<std::byte, 8> buffer{};
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      CHECK(l.run(kedge::with_timeout(1us, p.b.read_some(buffer))).error() == errc::timed_out);
    }
    l.run(write_all(p.a, "x"));
    std::optional<result<std::string>> got;
    l.run(read_once(p.b, got));
    CHECK(got->value() == "x");
  }
}

TEST_CASE("reads that are cancelled at every turn lose no byte") {
  loop l;
  stream_pair p(l);
  const std::string text = long_text(20'000);
  std::string got;
  l.spawn(write_and_close(p.a, text));
  l.run([](descriptor& d, std::string& out) -> task<> {
    std::array<std::byte, 16> buffer{};
    for (;;) {
      const auto r = co_await kedge::when_any(d.read_some(buffer), kedge::yield());
      if (const auto& n = std::get<0>(r)) {
        if (!*n) {
          CHECK(n->error() == errc::end_of_file);
          break;
        }
        out.append(reinterpret_cast<const char*>(buffer.data()), **n);
      }
    }
  }(p.b, got));
  CHECK(got == text);
}

TEST_CASE("a task cancelled as bytes arrive delivers them or leaves them in the socket") {
  loop l;
  stream_pair p(l);
  std::optional<result<std::string>> first;
  l.spawn([&]() -> task<> {
    for (;;) co_await read_once(p.b, first);
  });
  l.poll();
  l.run(write_all(p.a, "x"));
  l.cancel();
  drain(l);
  if (!first) l.run(read_once(p.b, first));
  CHECK(first->value() == "x");
}

TEST_CASE("a loop destroyed at any stage of a read leaves nothing behind") {
  for (int before = 0; before < 70; before += 3) {
    for (int stage = 0; stage < 3; ++stage) {
      CAPTURE(before);
      CAPTURE(stage);
      const auto fds = kedge::socket_pair();
      {
        loop l;
        descriptor d(l, fds[0], ownership::borrowed);
        std::optional<result<std::string>> got;
        for (int i = 0; i < before; ++i) l.spawn(kedge::yield());
        l.spawn([&]() -> task<> {
          while (l.spend_budget()) {
          }
          co_await read_once(d, got);
        });
        for (int i = 0; i < stage; ++i) l.poll();
        REQUIRE(::write(fds[1], "x", 1) == 1);
        if (stage == 2) l.poll();
      }
      CHECK(::close(fds[0]) == 0);
      CHECK(::close(fds[1]) == 0);
    }
  }
}

TEST_CASE("600 tasks exchange messages over 300 socket pairs at once") {
  loop l;
  std::vector<std::unique_ptr<stream_pair>> pairs;
  int got = 0;
  for (int i = 0; i < 300; ++i) {
    pairs.push_back(std::make_unique<stream_pair>(l));
    l.spawn(
        [](stream_pair& p, int& n) -> task<> {
          std::optional<result<std::string>> text;
          co_await read_once(p.b, text);
          n += text->value() == "ping";
          co_await write_all(p.b, "pong");
        },
        std::ref(*pairs.back()), std::ref(got));
    l.spawn(
        [](stream_pair& p, int& n) -> task<> {
          co_await write_all(p.a, "ping");
          std::optional<result<std::string>> text;
          co_await read_once(p.a, text);
          n += text->value() == "pong";
        },
        std::ref(*pairs.back()), std::ref(got));
  }
  drain(l);
  CHECK(got == 600);
}

TEST_CASE(
    "a fresh descriptor of an fd that is awaited gets already_awaited though there are bytes") {
  loop l;
  stream_pair p(l);
  descriptor second(l, p.b.native_handle(), ownership::borrowed);
  std::optional<result<std::string>> by_first, by_second;
  l.spawn(read_once(p.b, by_first));
  l.poll();
  REQUIRE(::write(p.a.native_handle(), "x", 1) == 1);
  l.run(read_once(second, by_second));
  CHECK(by_second->error() == errc::already_awaited);
  drain(l);
  CHECK(by_first->value() == "x");
}

}  // namespace
