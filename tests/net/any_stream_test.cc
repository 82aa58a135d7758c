// any_stream: a stream of any type behind one.
#include "kedge/net/any_stream.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "kedge/net/memory_stream.h"
#include "kedge/net/pipe_stream.h"
#include "kedge/net/read_exactly.h"
#include "kedge/net/reader.h"
#include "kedge/net/write_all.h"
#include "kedge/runtime/loop.h"
#include "tests/runtime/drain.h"
#include "text.h"

namespace kedge::net {
namespace {

static_assert(stream<any_stream>);
static_assert(!std::is_constructible_v<any_stream, int>);

TEST_CASE("an any_stream transfers, ends and closes as the stream that it owns") {
  loop l;
  memory_pipe p(l);
  any_stream s(std::move(p.a));
  CHECK(static_cast<bool>(s));
  CHECK(l.run(write_all(s, bytes_of("question"))).has_value());
  CHECK(s.shutdown_write().has_value());
  std::array<std::byte, 16> room;
  CHECK(*l.run(p.b.read_some(room)) == 8);
  CHECK(l.run(p.b.read_some(room)).error() == kedge::errc::end_of_file);
  CHECK(l.run(write_all(p.b, bytes_of("answer\n"))).has_value());
  reader in(s);
  CHECK(std::string(*l.run(in.line(10))) == "answer");
  s.close();
  s.close();
  CHECK(l.run(p.b.write_some(bytes_of("x"))).error() == std::errc::broken_pipe);
}

TEST_CASE("an any_stream resets where its stream can, and closes where it cannot") {
  loop l;
  memory_pipe p(l);
  any_stream s(std::move(p.a));
  std::array<std::byte, 1> room;
  s.reset();
  CHECK_FALSE(static_cast<bool>(s));
  CHECK(l.run(p.b.read_some(room)).error() == std::errc::connection_reset);
  s.reset();
  std::array<int, 2> ends;
  REQUIRE(::pipe(ends.data()) == 0);
  any_stream pipe{pipe_stream(descriptor(l, ends[0], ownership::owned),
                              descriptor(l, ends[1], ownership::owned))};
  pipe.reset();
  CHECK_FALSE(static_cast<bool>(pipe));
  CHECK(l.run(pipe.read_some(room)).error() == kedge::errc::closed);
}

TEST_CASE("a closed any_stream gives errc::closed") {
  loop l;
  any_stream s;
  std::array<std::byte, 1> room;
  CHECK_FALSE(static_cast<bool>(s));
  CHECK(l.run(s.read_some(room)).error() == kedge::errc::closed);
  CHECK(l.run(s.write_some(room)).error() == kedge::errc::closed);
  CHECK(s.shutdown_write().error() == kedge::errc::closed);
  s.close();
}

TEST_CASE("an any_stream that is dropped ends its waits, and awaitables may outlive it") {
  loop l;
  memory_pipe p(l);
  std::optional<any_stream> s(std::move(p.a));
  std::array<std::byte, 1> room;
  std::error_code end;
  l.spawn([&]() -> task<> { end = (co_await s->read_some(room)).error(); });
  settle(l);
  CHECK(l.run(s->read_some(room)).error() == kedge::errc::already_awaited);
  auto older = s->write_some(room);
  auto dropped = s->read_some(room);
  s.reset();
  settle(l);
  CHECK(end == kedge::errc::closed);
  CHECK(l.run(std::move(older)).error() == kedge::errc::closed);
}

TEST_CASE("a moved any_stream goes on with its waits, and assignment closes what was there") {
  loop l;
  memory_pipe p(l), q(l);
  any_stream s(std::move(p.a));
  std::array<std::byte, 4> room;
  std::size_t n = 0;
  l.spawn([&]() -> task<> { n = (co_await s.read_some(room)).value_or(0); });
  settle(l);
  any_stream moved(std::move(s));
  CHECK(l.run(p.b.write_some(bytes_of("xy"))).has_value());
  settle(l);
  CHECK(n == 2);
  moved = any_stream(std::move(q.a));
  CHECK(l.run(p.b.read_some(room)).error() == kedge::errc::end_of_file);
}

TEST_CASE("a read of an any_stream that is cancelled or destroyed loses nothing") {
  std::optional<loop> l(std::in_place);
  loop other;
  memory_pipe p(other);
  any_stream s(std::move(p.a));
  std::array<std::byte, 4> room;
  l->spawn([&]() -> task<> { static_cast<void>(co_await s.read_some(room)); });
  settle(*l);
  SUBCASE("cancelled") {
    l->cancel();
    settle(*l);
  }
  SUBCASE("destroyed") {
    l.reset();
  }
  CHECK(other.run(p.b.write_some(bytes_of("x"))).has_value());
  CHECK(*other.run(s.read_some(room)) == 1);
}

}  // namespace
}  // namespace kedge::net
