// pipe_stream: two pipes as one stream.
#include "kedge/net/pipe_stream.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/net/any_stream.h"
#include "kedge/net/read_exactly.h"
#include "kedge/net/reader.h"
#include "kedge/net/write_all.h"
#include "kedge/runtime/loop.h"
#include "tests/runtime/drain.h"
#include "text.h"

namespace kedge::net {
namespace {

static_assert(stream<pipe_stream>);

struct pipe_fds {
  pipe_fds() { REQUIRE(::pipe(ends.data()) == 0); }
  std::array<int, 2> ends{};
};

// Two pipe_streams that are each other's peer.
struct connection {
  explicit connection(loop& l) : connection(l, pipe_fds(), pipe_fds()) {}
  pipe_stream a;
  pipe_stream b;

 private:
  connection(loop& l, const pipe_fds& forth, const pipe_fds& back)
      : a(descriptor(l, back.ends[0], ownership::owned),
          descriptor(l, forth.ends[1], ownership::owned)),
        b(descriptor(l, forth.ends[0], ownership::owned),
          descriptor(l, back.ends[1], ownership::owned)) {}
};

TEST_CASE("a pipe_stream reads from one pipe and writes to the other one") {
  loop l;
  connection c(l);
  CHECK(l.run(write_all(c.a, bytes_of("question\n"))).has_value());
  reader in(c.b);
  CHECK(std::string(*l.run(in.line(100))) == "question");
  CHECK(l.run(write_all(c.b, bytes_of("answer"))).has_value());
  std::array<std::byte, 16> room;
  CHECK(*l.run(c.a.read_some(room)) == 6);
}

TEST_CASE("after shutdown_write the reader of the pipe sees the end, and reading goes on") {
  loop l;
  connection c(l);
  std::array<std::byte, 16> room;
  CHECK(c.a.shutdown_write().has_value());
  CHECK(c.a.shutdown_write().has_value());
  CHECK(l.run(c.b.read_some(room)).error() == kedge::errc::end_of_file);
  CHECK(l.run(write_all(c.b, bytes_of("x"))).has_value());
  CHECK(*l.run(c.a.read_some(room)) == 1);
  CHECK(l.run(c.a.write_some(room)).error() == kedge::errc::closed);
}

TEST_CASE("closing a pipe_stream ends its waits, and the waits of its peer") {
  loop l;
  std::optional<connection> c(std::in_place, l);
  std::array<std::byte, 16> room, peer_room;
  std::error_code own, peer;
  l.spawn([&]() -> task<> { own = (co_await c->a.read_some(room)).error(); });
  l.spawn([&]() -> task<> { peer = (co_await c->b.read_some(peer_room)).error(); });
  settle(l);
  c->a.close();
  settle(l);
  CHECK(own == kedge::errc::closed);
  CHECK(peer == kedge::errc::end_of_file);
  CHECK(c->a.shutdown_write().error() == kedge::errc::closed);
  auto older = c->b.read_some(room);
  c.reset();
  CHECK(l.run(std::move(older)).error() == kedge::errc::closed);
}

// SIGPIPE has its default, which ends the program.
TEST_CASE("a pipe_stream whose peer has gone gives EPIPE, at once and after a wait") {
  loop l;
  std::optional<connection> c(std::in_place, l);
  std::error_code end;
  std::size_t done = 0;
  const std::string large(1'000'000, 'x');
  l.spawn([&]() -> task<> { end = (co_await write_all(c->a, bytes_of(large), done)).error(); });
  settle(l);
  CHECK(done != 0);
  CHECK_FALSE(static_cast<bool>(end));
  c->b.close();
  drain(l);
  CHECK(end == std::errc::broken_pipe);
  CHECK(l.run(write_all(c->a, bytes_of("x"))).error() == std::errc::broken_pipe);
  auto older = c->a.write_some(bytes_of("x"));
  c.reset();
  CHECK(l.run(std::move(older)).error() == kedge::errc::closed);
}

TEST_CASE("a cancelled write to a pipe_stream has written nothing more, and another one goes on") {
  std::optional<loop> l(std::in_place);
  loop other;
  connection c(other);
  const std::string large(1'000'000, 'x');
  std::size_t done = 0;
  pipe_stream a(descriptor(*l, ::dup(c.a.input().native_handle()), ownership::owned),
                descriptor(*l, ::dup(c.a.output().native_handle()), ownership::owned));
  l->spawn([&]() -> task<> { static_cast<void>(co_await write_all(a, bytes_of(large), done)); });
  settle(*l);
  SUBCASE("cancelled") {
    l->cancel();
    settle(*l);
  }
  SUBCASE("destroyed") {
    l.reset();
  }
  std::vector<std::byte> room(done);
  CHECK(other.run(read_exactly(c.b, room)).has_value());
  CHECK(other.run(write_all(c.a, bytes_of("y"))).has_value());
  CHECK(other.run(c.b.read_some(room)).value_or(0) == 1);
  CHECK(text_of(std::span(room).first(1)) == "y");
}

TEST_CASE("a cancelled read of a pipe_stream loses nothing") {
  loop l;
  connection c(l);
  any_stream a(std::move(c.a));
  std::array<std::byte, 16> room;
  l.spawn([&]() -> task<> { static_cast<void>(co_await a.read_some(room)); });
  settle(l);
  l.cancel();
  settle(l);
  loop other;
  CHECK(l.size() == 0);
  CHECK(other.run(write_all(c.b, bytes_of("x"))).has_value());
  CHECK(*other.run(a.read_some(room)) == 1);
}

}  // namespace
}  // namespace kedge::net
