// memory_pipe: bytes, ends, delays and faults of streams in memory.
#include "kedge/net/memory_stream.h"

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "kedge/net/read_exactly.h"
#include "kedge/net/write_all.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/select.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_timeout.h"
#include "tests/runtime/drain.h"
#include "text.h"

namespace kedge::net {
namespace {

using namespace std::chrono_literals;

static_assert(stream<memory_stream>);

// What one read gave: text, or an error.
struct read_end {
  std::string text;
  std::error_code error;
  bool has_ended = false;
};
task<> read_once(memory_stream& s, read_end& out, std::size_t most = 64) {
  std::vector<std::byte> room(most);
  const auto n = co_await s.read_some(room);
  out.has_ended = true;
  if (n) out.text = text_of(std::span(room).first(*n));
  if (!n) out.error = n.error();
}
read_end read(loop& l, memory_stream& s, std::size_t most = 64) {
  read_end out;
  l.run(read_once(s, out, most));
  return out;
}
// Reads until an error, and notes the size of each read.
task<> read_to_end(memory_stream& s, std::string& text, std::vector<std::size_t>& sizes,
                   std::error_code& end) {
  std::array<std::byte, 64> room;
  for (;;) {
    const auto n = co_await s.read_some(room);
    if (!n) {
      end = n.error();
      co_return;
    }
    text += text_of(std::span(room).first(*n));
    sizes.push_back(*n);
  }
}
task<> write_and_shut(memory_stream& s, std::string_view text) {
  CHECK((co_await write_all(s, bytes_of(text))).has_value());
  CHECK(s.shutdown_write().has_value());
}
task<> write_once(memory_stream& s, std::string_view text,
                  std::optional<result<std::size_t>>& out) {
  out = co_await s.write_some(bytes_of(text));
}

TEST_CASE("one end of a memory pipe reads what the other one writes, in both directions") {
  loop l;
  memory_pipe p(l);
  CHECK(*l.run(p.a.write_some(bytes_of("ping"))) == 4);
  CHECK(*l.run(p.b.write_some(bytes_of("pong!"))) == 5);
  CHECK(read(l, p.b).text == "ping");
  CHECK(read(l, p.a, 2).text == "po");
  CHECK(read(l, p.a).text == "ng!");
}

TEST_CASE("a read of a memory stream waits for a write") {
  loop l;
  memory_pipe p(l);
  read_end got;
  l.spawn(read_once, std::ref(p.b), std::ref(got), std::size_t{64});
  settle(l);
  CHECK_FALSE(got.has_ended);
  CHECK(l.run(p.a.write_some(bytes_of("x"))).has_value());
  settle(l);
  CHECK(got.text == "x");
}

TEST_CASE("an empty transfer over a memory stream gives 0 at once") {
  loop l;
  memory_pipe p(l);
  CHECK(*l.run(p.a.read_some({})) == 0);
  CHECK(*l.run(p.a.write_some({})) == 0);
}

TEST_CASE("a write takes what there is room for, and waits while a memory stream is full") {
  loop l;
  memory_pipe p(l, {.capacity = 3});
  CHECK(*l.run(p.a.write_some(bytes_of("abcd"))) == 3);
  std::optional<result<std::size_t>> out;
  l.spawn(write_once, std::ref(p.a), "d", std::ref(out));
  settle(l);
  CHECK_FALSE(out.has_value());
  CHECK(read(l, p.b, 1).text == "a");
  settle(l);
  REQUIRE(out.has_value());
  CHECK(**out == 1);
  CHECK(read(l, p.b).text == "bcd");  // over the end of the ring
}

TEST_CASE("after shutdown_write the peer reads the rest and the end, and can still write") {
  loop l;
  memory_pipe p(l);
  CHECK(l.run(p.a.write_some(bytes_of("rest"))).has_value());
  CHECK(p.a.shutdown_write().has_value());
  CHECK(p.a.shutdown_write().has_value());
  CHECK(l.run(p.a.write_some(bytes_of("x"))).error() == std::errc::broken_pipe);
  CHECK(read(l, p.b).text == "rest");
  CHECK(read(l, p.b).error == kedge::errc::end_of_file);
  CHECK(read(l, p.b).error == kedge::errc::end_of_file);
  CHECK(l.run(p.b.write_some(bytes_of("answer"))).has_value());
  CHECK(read(l, p.a).text == "answer");
}

TEST_CASE("shutdown_write ends a read in progress with the end, and a write with EPIPE") {
  loop l;
  memory_pipe p(l, {.capacity = 1});
  read_end got;
  std::optional<result<std::size_t>> out;
  CHECK(l.run(p.a.write_some(bytes_of("x"))).has_value());
  l.spawn(read_once, std::ref(p.a), std::ref(got), std::size_t{64});
  l.spawn(write_once, std::ref(p.a), "y", std::ref(out));
  settle(l);
  CHECK(p.b.shutdown_write().has_value());
  CHECK(p.a.shutdown_write().has_value());
  settle(l);
  CHECK(got.error == kedge::errc::end_of_file);
  REQUIRE(out.has_value());
  CHECK(out->error() == std::errc::broken_pipe);
}

TEST_CASE(
    "a memory stream that is dropped ends its waits, and is like a closed socket to its peer") {
  loop l;
  std::optional<memory_pipe> p(std::in_place, l, memory_options{.capacity = 1});
  memory_stream peer = std::move(p->b);
  read_end own_read, peer_read;
  std::optional<result<std::size_t>> own_write, peer_write;
  CHECK(l.run(peer.write_some(bytes_of("x"))).has_value());
  CHECK(read(l, p->a).text == "x");
  CHECK(l.run(p->a.write_some(bytes_of("1"))).has_value());
  CHECK(l.run(peer.write_some(bytes_of("2"))).has_value());
  l.spawn(write_once, std::ref(p->a), "y", std::ref(own_write));
  l.spawn(write_once, std::ref(peer), "z", std::ref(peer_write));
  settle(l);
  auto older_read = p->a.read_some({});
  p.reset();
  settle(l);
  REQUIRE(own_write.has_value());
  CHECK(own_write->error() == kedge::errc::closed);
  REQUIRE(peer_write.has_value());
  CHECK(peer_write->error() == std::errc::broken_pipe);
  CHECK(l.run(std::move(older_read)).error() == kedge::errc::closed);
  CHECK(read(l, peer).text == "1");
  CHECK(read(l, peer).error == kedge::errc::end_of_file);
}

TEST_CASE("closing a memory stream ends its read with errc::closed") {
  loop l;
  memory_pipe p(l);
  read_end got;
  l.spawn(read_once, std::ref(p.a), std::ref(got), std::size_t{64});
  settle(l);
  p.a.close();
  p.a.close();
  settle(l);
  CHECK(got.error == kedge::errc::closed);
  CHECK(p.a.shutdown_write().error() == kedge::errc::closed);
  CHECK(l.run(p.a.write_some(bytes_of("x"))).error() == kedge::errc::closed);
}

TEST_CASE("a second read, or write, of one memory stream gives errc::already_awaited") {
  loop l;
  memory_pipe p(l, {.capacity = 1});
  read_end first;
  std::optional<result<std::size_t>> out;
  CHECK(l.run(p.a.write_some(bytes_of("x"))).has_value());
  l.spawn(read_once, std::ref(p.a), std::ref(first), std::size_t{64});
  l.spawn(write_once, std::ref(p.a), "y", std::ref(out));
  settle(l);
  CHECK(read(l, p.a).error == kedge::errc::already_awaited);
  CHECK(l.run(p.a.write_some(bytes_of("z"))).error() == kedge::errc::already_awaited);
  CHECK(read(l, p.b).text == "x");  // the other end is not concerned
  CHECK(l.run(p.b.write_some(bytes_of("!"))).has_value());
  settle(l);
  CHECK(first.text == "!");
}

TEST_CASE(
    "a read of a memory stream that is cancelled or destroyed before its turn loses nothing") {
  loop other;
  std::optional<loop> l(std::in_place);
  memory_pipe p(other);
  read_end got;
  l->spawn(read_once, std::ref(p.a), std::ref(got), std::size_t{64});
  settle(*l);
  SUBCASE("cancelled as it waits") {
    l->cancel();
    settle(*l);
  }
  SUBCASE("destroyed as it waits") {
    l.reset();
  }
  CHECK(other.run(p.b.write_some(bytes_of("x"))).has_value());
  // The task is ready now, if there is one.
  SUBCASE("destroyed before its turn") {
    l.reset();
  }
  SUBCASE("cancelled before its turn") {
    l->cancel();
    settle(*l);
    CHECK(got.text == "x");  // what has come beats the cancellation
    return;
  }
  CHECK_FALSE(got.has_ended);
  CHECK(read(other, p.a).text == "x");
}

TEST_CASE("a cancelled write to a memory stream has written nothing") {
  loop l;
  memory_pipe p(l, {.capacity = 1});
  CHECK(l.run(p.a.write_some(bytes_of("x"))).has_value());
  std::optional<result<std::size_t>> out;
  l.spawn(write_once, std::ref(p.a), "y", std::ref(out));
  settle(l);
  l.cancel();
  settle(l);
  CHECK_FALSE(out.has_value());
  CHECK(read(l, p.b).text == "x");
  CHECK(p.a.shutdown_write().has_value());
  CHECK(read(l, p.b).error == kedge::errc::end_of_file);
}

TEST_CASE("select reads from whichever memory stream has bytes") {
  loop l;
  memory_pipe p(l), q(l);
  std::array<std::byte, 8> room;
  std::size_t from = 9;
  l.spawn([&]() -> task<> {
    const auto got = co_await select(p.a.read_some(room), q.a.read_some(room));
    from = got.index();
  });
  settle(l);
  CHECK(l.run(q.b.write_some(bytes_of("x"))).has_value());
  settle(l);
  CHECK(from == 1);
}

TEST_CASE("bytes and ends of a memory pipe arrive after its delay, in virtual time") {
  virtual_time time;
  loop l(time);
  memory_pipe p(l, {.delay = 10ms});
  std::vector<clock::duration> arrivals;
  std::string text;
  const auto start = time.now();
  const auto receiver = [&]() -> task<> {
    std::array<std::byte, 8> room;
    for (;;) {
      const auto n = co_await p.b.read_some(room);
      arrivals.push_back(time.now() - start);
      if (!n) co_return;
      text += text_of(std::span(room).first(*n)) + "|";
    }
  };
  const auto sender = [&]() -> task<> {
    CHECK((co_await p.a.write_some(bytes_of("ab"))).has_value());
    CHECK((co_await p.a.write_some(bytes_of("c"))).has_value());
    co_await sleep_for(5ms);
    CHECK((co_await p.a.write_some(bytes_of("d"))).has_value());
    co_await sleep_for(5ms);
    p.a.close();
  };
  l.spawn(receiver);
  l.spawn(sender);
  CHECK(time.run() == 0);
  CHECK(text == "abc|d|");
  CHECK(arrivals == std::vector<clock::duration>{10ms, 15ms, 20ms});
}

TEST_CASE("delayed bytes use up the capacity of a memory pipe") {
  virtual_time time;
  loop l(time);
  memory_pipe p(l, {.capacity = 2, .delay = 1s});
  CHECK(*l.run(p.a.write_some(bytes_of("abc"))) == 2);
  const auto waited = l.run(with_timeout(500ms, p.a.write_some(bytes_of("c"))));
  REQUIRE_FALSE(waited.has_value());
  CHECK(waited.error() == kedge::errc::timed_out);
}

TEST_CASE("a memory stream may outlive its loop, and then delays nothing") {
  std::optional<loop> l(std::in_place);
  memory_pipe p(*l, {.delay = 1h});
  CHECK(l->run(p.a.write_some(bytes_of("lost"))).has_value());
  l.reset();
  loop other;
  CHECK(other.run(p.b.write_some(bytes_of("late"))).has_value());
  CHECK(read(other, p.a).text == "late");
}

TEST_CASE("a memory pipe cuts transfers into fragments, the same ones for each seed") {
  const std::string whole = "The quick brown fox jumps over the lazy dog.";
  const auto sizes_of = [&](std::uint32_t seed) {
    loop l;
    memory_pipe p(l, {.capacity = 7, .fragment = 4, .seed = seed});
    std::string text;
    std::vector<std::size_t> sizes;
    std::error_code end;
    l.spawn(write_and_shut, std::ref(p.a), whole);
    l.spawn(read_to_end, std::ref(p.b), std::ref(text), std::ref(sizes), std::ref(end));
    drain(l);
    CHECK(text == whole);
    CHECK(end == kedge::errc::end_of_file);
    for (const std::size_t n : sizes) {
      CHECK(n >= 1);
      CHECK(n <= 4);
    }
    return sizes;
  };
  const bool is_repeatable = sizes_of(1) == sizes_of(1);
  const bool is_random = sizes_of(1) != sizes_of(2);
  CHECK(is_repeatable);
  CHECK(is_random);
}

TEST_CASE("a reset ends the waits of both memory streams, and what was not read is lost") {
  loop l;
  memory_pipe p(l, {.capacity = 1});
  read_end got;
  std::optional<result<std::size_t>> out;
  CHECK(l.run(p.a.write_some(bytes_of("x"))).has_value());
  l.spawn(read_once, std::ref(p.a), std::ref(got), std::size_t{64});
  l.spawn(write_once, std::ref(p.a), "y", std::ref(out));
  settle(l);
  p.b.reset();
  settle(l);
  CHECK(got.error == std::errc::connection_reset);
  REQUIRE(out.has_value());
  CHECK(out->error() == std::errc::connection_reset);
  CHECK(read(l, p.b).error == std::errc::connection_reset);
}

TEST_CASE("a memory stream is reset after the byte that is asked for") {
  loop l;
  memory_pipe p(l);
  p.a.reset_after(3);
  CHECK(*l.run(p.a.write_some(bytes_of("ab"))) == 2);
  CHECK(read(l, p.b).text == "ab");
  CHECK(*l.run(p.a.write_some(bytes_of("cd"))) == 1);
  CHECK(read(l, p.b).error == std::errc::connection_reset);
  CHECK(l.run(p.a.write_some(bytes_of("d"))).error() == std::errc::connection_reset);
  memory_pipe q(l);
  CHECK(l.run(q.a.write_some(bytes_of("ab"))).has_value());
  q.a.reset_after(1);
  CHECK(read(l, q.b).error == std::errc::connection_reset);
}

TEST_CASE("writes of a memory stream fail after the byte that is asked for, and the rest arrives") {
  loop l;
  memory_pipe p(l, {.capacity = 4});
  p.a.fail_writes_after(5, std::make_error_code(std::errc::no_space_on_device));
  CHECK(*l.run(p.a.write_some(bytes_of("abcdef"))) == 4);
  std::optional<result<std::size_t>> out;
  l.spawn(write_once, std::ref(p.a), "ef", std::ref(out));
  settle(l);
  CHECK(read(l, p.b).text == "abcd");
  settle(l);
  REQUIRE(out.has_value());
  CHECK(**out == 1);
  CHECK(l.run(p.a.write_some(bytes_of("f"))).error() == std::errc::no_space_on_device);
  CHECK(read(l, p.b).text == "e");
}

TEST_CASE("over a severed memory pipe nothing arrives, not even an end") {
  virtual_time time;
  loop l(time);
  memory_pipe p(l, {.capacity = 8, .delay = 1s});
  CHECK(l.run(p.a.write_some(bytes_of("lost"))).has_value());
  p.b.sever();
  CHECK(*l.run(p.a.write_some(bytes_of("and more"))) == 4);  // until it is full
  p.a.close();
  const auto silence = l.run(with_timeout(1h, p.b.write_some(bytes_of("fits"))));
  CHECK(*silence == 4);
  std::array<std::byte, 8> room;
  const auto read = l.run(with_timeout(1h, p.b.read_some(room)));
  REQUIRE_FALSE(read.has_value());
  CHECK(read.error() == kedge::errc::timed_out);
}

TEST_CASE("the seed of a memory pipe decides where it is reset, and where a write fails") {
  const auto run = [](const memory_options& o) {
    loop l;
    memory_pipe p(l, o);
    std::string forth, back;
    std::vector<std::size_t> sizes;
    std::error_code forth_end, back_end;
    const std::string long_text(200, 'x');
    const auto send = [&](memory_stream& s) -> task<> {
      static_cast<void>(co_await write_all(s, bytes_of(long_text)));
      static_cast<void>(s.shutdown_write());
    };
    l.spawn(send, std::ref(p.a));
    l.spawn(send, std::ref(p.b));
    l.spawn(read_to_end, std::ref(p.b), std::ref(forth), std::ref(sizes), std::ref(forth_end));
    l.spawn(read_to_end, std::ref(p.a), std::ref(back), std::ref(sizes), std::ref(back_end));
    drain(l);
    return std::array<std::size_t, 3>{forth.size(), back.size(),
                                      forth_end == std::errc::connection_reset ? 1u : 0u};
  };
  const memory_options resets{.capacity = 8, .seed = 3, .reset_within = 100};
  const memory_options other_seed{.capacity = 8, .seed = 4, .reset_within = 100};
  const memory_options fails{.capacity = 8, .seed = 3, .fail_within = 100};
  const auto first = run(resets), again = run(resets), other = run(other_seed), failed = run(fails);
  CHECK(first[2] == 1);
  CHECK(first[0] < 100);
  const bool is_repeatable = first == again;
  CHECK(is_repeatable);
  const bool is_random = first != other;
  CHECK(is_random);
  CHECK(failed[2] == 0);
  CHECK(std::min(failed[0], failed[1]) < 100);
  CHECK(std::max(failed[0], failed[1]) == 200);
}

TEST_CASE("a memory pipe refuses a capacity of zero and a negative delay") {
  loop l;
  CHECK_THROWS_AS(memory_pipe(l, {.capacity = 0}), std::system_error);
  CHECK_THROWS_AS(memory_pipe(l, {.delay = -1ms}), std::system_error);
}

TEST_CASE("read_exactly and write_all count what was transferred, and go on after a cancellation") {
  virtual_time time;
  loop l(time);
  memory_pipe p(l, {.capacity = 4});
  std::size_t written = 0, done = 0;
  std::array<std::byte, 10> room;
  const auto full = l.run(with_timeout(1s, write_all(p.a, bytes_of("0123456789"), written)));
  CHECK(full.error() == kedge::errc::timed_out);
  CHECK(written == 4);
  const auto part = l.run(with_timeout(1s, read_exactly(p.b, room, done)));
  CHECK(part.error() == kedge::errc::timed_out);
  CHECK(done == 4);
  l.spawn([&]() -> task<> {
    CHECK((co_await write_all(p.a, bytes_of("0123456789"), written)).has_value());
  });
  l.spawn([&]() -> task<> { CHECK((co_await read_exactly(p.b, room, done)).has_value()); });
  drain(l);
  CHECK(written == 10);
  CHECK(text_of(room) == "0123456789");
}

TEST_CASE("read_exactly tells an end between messages from one within") {
  loop l;
  memory_pipe p(l);
  l.run(write_and_shut(p.a, "abc"));
  std::array<std::byte, 2> room;
  std::size_t done = 0;
  CHECK(l.run(read_exactly(p.b, room)).has_value());
  CHECK(l.run(read_exactly(p.b, room, done)).error() == kedge::errc::end_of_file);
  CHECK(done == 1);
  done = 0;
  CHECK(l.run(read_exactly(p.b, room, done)).error() == kedge::errc::end_of_file);
  CHECK(done == 0);
}

TEST_CASE("what read_exactly and write_all throw names the operation of their stream") {
  loop l;
  memory_pipe p(l);
  p.a.close();
  std::array<std::byte, 1> room;
  CHECK_THROWS_WITH(l.run(write_all(p.a, room)).value(), doctest::Contains("write_some"));
  CHECK_THROWS_WITH(l.run(read_exactly(p.a, room)).value(), doctest::Contains("read_some"));
}

TEST_CASE("write_all gives the error of the stream, and counts what it took before") {
  loop l;
  memory_pipe p(l);
  p.a.fail_writes_after(3, std::make_error_code(std::errc::io_error));
  std::size_t done = 0;
  CHECK(l.run(write_all(p.a, bytes_of("abcdef"), done)).error() == std::errc::io_error);
  CHECK(done == 3);
}

}  // namespace
}  // namespace kedge::net
