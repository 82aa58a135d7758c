// writer: its high-water mark, errors and cancellations, over streams in memory.
#include "kedge/net/writer.h"

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/net/memory_stream.h"
#include "kedge/net/read_exactly.h"
#include "kedge/net/reader.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_timeout.h"
#include "tests/runtime/drain.h"
#include "tests/seeds.h"
#include "text.h"

namespace kedge::net {
namespace {

using namespace std::chrono_literals;

std::string read_some(loop& l, memory_stream& s, std::size_t most = 100) {
  std::vector<std::byte> room(most);
  const auto n = l.run(s.read_some(room));
  return n ? text_of(std::span(room).first(*n)) : "error: " + n.error().message();
}
task<> write(writer<memory_stream&>& out, std::string_view text, std::optional<result<void>>& end) {
  end = co_await out.write(text);
}
task<> flush(writer<memory_stream&>& out, std::optional<result<void>>& end) {
  end = co_await out.flush();
}

TEST_CASE("a writer keeps what is written until it is flushed") {
  loop l;
  memory_pipe p(l);
  writer out(p.a);
  CHECK(l.run(out.write("one ")).has_value());
  CHECK(l.run(out.write(bytes_of("two"))).has_value());
  CHECK(text_of(out.buffered()) == "one two");
  CHECK(l.run(out.flush()).has_value());
  CHECK(out.buffered().empty());
  CHECK(read_some(l, p.b) == "one two");
  CHECK(l.run(out.flush()).has_value());
}

TEST_CASE("a write above the high-water mark waits until the stream has taken enough") {
  loop l;
  memory_pipe p(l, {.capacity = 4});
  writer out(p.a, 8);
  CHECK(l.run(out.write("01234567")).has_value());
  std::optional<result<void>> end;
  l.spawn(write, std::ref(out), "89abcd", std::ref(end));
  settle(l);
  CHECK_FALSE(end.has_value());
  CHECK(text_of(out.buffered()) == "4567");
  CHECK(read_some(l, p.b) == "0123");
  settle(l);
  REQUIRE(end.has_value());
  CHECK(end->has_value());
  CHECK(text_of(out.buffered()) == "89abcd");
}

TEST_CASE("a write beyond the high-water mark is sent without a copy, but for its tail") {
  loop l;
  memory_pipe p(l, {.capacity = 7});
  writer out(p.a, 4);
  CHECK(l.run(out.write("0123456789")).has_value());
  CHECK(text_of(out.buffered()) == "789");
  CHECK(read_some(l, p.b) == "0123456");
  CHECK(l.run(out.write("ab")).has_value());
  CHECK(text_of(out.buffered()) == "ab");
  CHECK(read_some(l, p.b) == "789");
  CHECK(out.capacity() <= 8);
}

TEST_CASE("a writer needs no memory for a large write or frame, and waits for its peer") {
  constexpr std::size_t mark = 65536;
  loop l;
  memory_pipe p(l, {.capacity = 1000});
  writer out(p.a, mark);
  reader in(p.b);
  const std::string large(1'000'000, 'x');
  CHECK(l.run(out.write("line\n")).has_value());
  event written;
  l.spawn([&]() -> task<> {
    CHECK((co_await out.write(large)).has_value());
    written.set();
  });
  settle(l);
  CHECK_FALSE(written.is_set());
  std::string received;
  l.spawn([&]() -> task<> {
    CHECK((co_await in.line(10)).value_or("") == "line");
    std::vector<std::byte> room(large.size());
    CHECK((co_await read_exactly(in, room)).has_value());
    received = text_of(room);
    const auto framed = co_await in.frame(large.size());
    REQUIRE(framed.has_value());
    CHECK(framed->size() == large.size());
  });
  l.spawn([&]() -> task<> {
    CHECK((co_await written.wait()).has_value());
    CHECK((co_await out.frame(bytes_of(large))).has_value());
    CHECK((co_await out.flush()).has_value());
  });
  drain(l);
  const bool is_whole = received == large;
  CHECK(is_whole);
  CHECK(out.capacity() <= 2 * mark);
}

TEST_CASE("a large write that is cancelled in the middle leaves a writer that says so") {
  virtual_time time;
  loop l(time);
  memory_pipe p(l, {.capacity = 3});
  writer out(p.a, 4);
  CHECK(l.run(out.write("ab")).has_value());
  SUBCASE("before the stream has taken a part, it has taken nothing") {
    CHECK(l.run(p.a.write_some(bytes_of("..."))).has_value());
    CHECK(l.run(with_timeout(1s, out.write("0123456789"))).error() == kedge::errc::timed_out);
    CHECK(text_of(out.buffered()) == "ab");
    CHECK(read_some(l, p.b) == "...");
    CHECK(l.run(out.flush()).has_value());
    CHECK(read_some(l, p.b) == "ab");
  }
  SUBCASE("behind a part") {
    CHECK(l.run(with_timeout(1s, out.write("0123456789"))).error() == kedge::errc::timed_out);
    CHECK(read_some(l, p.b) == "ab0");
    CHECK(l.run(out.write("x")).error() == errc::half_written);
    CHECK(l.run(out.flush()).error() == errc::half_written);
    CHECK(out.buffered().empty());
  }
  SUBCASE("behind a part of a frame") {
    CHECK(l.run(with_timeout(1s, out.frame<std::uint8_t>(bytes_of("01234")))).error() ==
          kedge::errc::timed_out);
    CHECK(read_some(l, p.b) == "ab\x05");
    CHECK(l.run(out.flush()).error() == errc::half_written);
  }
  SUBCASE("behind a part that the caller counts") {
    std::size_t done = 0;
    const auto bytes = bytes_of("0123456789");
    CHECK(l.run(with_timeout(1s, out.write(bytes, done))).error() == kedge::errc::timed_out);
    CHECK(done == 1);
    CHECK(read_some(l, p.b) == "ab0");
    CHECK(l.run(with_timeout(1s, out.write(bytes, done))).error() == kedge::errc::timed_out);
    CHECK(done == 4);
    CHECK(read_some(l, p.b) == "123");
    CHECK(l.run(out.write(bytes, done)).has_value());
    CHECK(done == 10);
    CHECK(text_of(out.buffered()) == "789");
    CHECK(read_some(l, p.b) == "456");
    CHECK(l.run(out.write(bytes, done)).has_value());
    CHECK(l.run(out.flush()).has_value());
    CHECK(read_some(l, p.b) == "789");
  }
}

TEST_CASE("a writer whose large write is destroyed as it waits says so to later calls") {
  loop other;
  memory_pipe p(other, {.capacity = 2});
  writer out(p.a, 1);
  std::optional<result<void>> end;
  {
    loop l;
    l.spawn(write, std::ref(out), "0123", std::ref(end));
    settle(l);
  }
  CHECK_FALSE(end.has_value());
  CHECK(read_some(other, p.b) == "01");
  CHECK(other.run(out.write("x")).error() == errc::half_written);
}

TEST_CASE("a write that is cancelled has taken nothing, and what was buffered is written once") {
  virtual_time time;
  loop l(time);
  memory_pipe p(l, {.capacity = 2});
  writer out(p.a, 4);
  CHECK(l.run(out.write("0123")).has_value());
  const auto waited = l.run(with_timeout(1s, out.write("never")));
  CHECK(waited.error() == kedge::errc::timed_out);
  const auto flushed = l.run(with_timeout(1s, out.flush()));
  CHECK(flushed.error() == kedge::errc::timed_out);
  CHECK(text_of(out.buffered()) == "23");
  CHECK(read_some(l, p.b) == "01");
  CHECK(l.run(out.flush()).has_value());
  CHECK(read_some(l, p.b) == "23");
}

TEST_CASE("the first error of the stream stays with its writer") {
  loop l;
  memory_pipe p(l);
  writer out(p.a, 4);
  p.a.fail_writes_after(2, std::make_error_code(std::errc::io_error));
  CHECK(l.run(out.write("0123")).has_value());
  CHECK(l.run(out.write("456")).error() == std::errc::io_error);
  p.b.reset();
  CHECK(l.run(out.write("")).error() == std::errc::io_error);
  CHECK(l.run(out.flush()).error() == std::errc::io_error);
  CHECK(text_of(out.buffered()) == "23");
}

TEST_CASE(
    "a second task that writes while one waits gets errc::already_awaited, which does not stay") {
  loop l;
  memory_pipe p(l, {.capacity = 1});
  writer out(p.a);
  std::optional<result<void>> end;
  CHECK(l.run(out.write("01")).has_value());
  l.spawn(flush, std::ref(out), std::ref(end));
  settle(l);
  CHECK(l.run(out.write("x")).error() == kedge::errc::already_awaited);
  CHECK(l.run(out.flush()).error() == kedge::errc::already_awaited);
  CHECK(read_some(l, p.b) == "0");
  settle(l);
  CHECK(end->has_value());
  CHECK(read_some(l, p.b) == "1");

  // Another task writes to the stream itself.
  CHECK(l.run(p.a.write_some(bytes_of("y"))).has_value());
  l.spawn([&]() -> task<> { CHECK((co_await p.a.write_some(bytes_of("z"))).has_value()); });
  settle(l);
  CHECK(l.run(out.write("2")).has_value());
  CHECK(l.run(out.flush()).error() == kedge::errc::already_awaited);
  CHECK(read_some(l, p.b) == "y");
  settle(l);
  CHECK(read_some(l, p.b) == "z");
  CHECK(l.run(out.flush()).has_value());
  CHECK(read_some(l, p.b) == "2");
}

TEST_CASE("a writer whose task is destroyed as it waits goes on where it was") {
  loop other;
  memory_pipe p(other, {.capacity = 2});
  writer out(p.a);
  std::optional<result<void>> end;
  {
    loop l;
    CHECK(l.run(out.write("0123")).has_value());
    l.spawn(flush, std::ref(out), std::ref(end));
    settle(l);
  }
  CHECK_FALSE(end.has_value());
  CHECK(text_of(out.buffered()) == "23");
  CHECK(read_some(other, p.b) == "01");
  CHECK(other.run(out.flush()).has_value());
  CHECK(read_some(other, p.b) == "23");
}

TEST_CASE("a writer can own its stream, and can be moved with what it has buffered") {
  loop l;
  memory_pipe p(l);
  writer first(std::move(p.a));
  CHECK(l.run(first.write("text")).has_value());
  writer second(std::move(first));
  CHECK(l.run(second.flush()).has_value());
  CHECK(second.sink().shutdown_write().has_value());
  CHECK(read_some(l, p.b) == "text");
}

TEST_CASE("frames of each length go from a writer to a reader") {
  loop l;
  memory_pipe p(l);
  writer out(p.a);
  reader in(p.b);
  const std::string large(255, 'x');
  CHECK(l.run(out.frame<std::uint8_t>(bytes_of(large))).has_value());
  CHECK(l.run(out.frame<std::uint8_t>(bytes_of(large + "y"))).error() == std::errc::message_size);
  CHECK(l.run(out.frame<std::uint16_t>(bytes_of(large + "y"))).has_value());
  CHECK(l.run(out.frame(bytes_of("four"))).has_value());
  CHECK(l.run(out.frame<std::uint64_t>({})).has_value());
  CHECK(text_of(out.buffered().first(1)) == "\xff");
  CHECK(l.run(out.flush()).has_value());
  CHECK(text_of(*l.run(in.frame<std::uint8_t>(255))) == large);
  CHECK(text_of(*l.run(in.frame<std::uint16_t>(256))) == large + "y");
  CHECK(text_of(*l.run(in.frame(4))) == "four");
  CHECK(l.run(in.frame<std::uint64_t>(0))->empty());
}

TEST_CASE("the buffer of a writer needs no more memory, however long it is used") {
  loop l;
  memory_pipe p(l, {.capacity = 64, .fragment = 5});
  writer out(p.a, 32);
  std::string sent, received;
  l.spawn([&]() -> task<> {
    for (int i = 0; i < 2000; ++i) {
      const std::string text = std::to_string(i);
      CHECK((co_await out.write(text)).has_value());
      sent += text;
    }
    CHECK((co_await out.flush()).has_value());
    CHECK(p.a.shutdown_write().has_value());
  });
  l.spawn([&]() -> task<> {
    std::array<std::byte, 7> room;
    while (const auto n = co_await p.b.read_some(room)) {
      received += text_of(std::span(room).first(*n));
    }
  });
  drain(l);
  const bool is_whole = sent == received;
  CHECK(is_whole);
  CHECK(out.capacity() <= 128);
}

TEST_CASE("however often writes are cancelled, each byte that was taken is written once") {
  test::play_seeds(200, [](std::uint64_t number) {
    CAPTURE(number);
    const auto seed = static_cast<std::uint32_t>(number);
    virtual_time time;
    loop l(time);
    std::minstd_rand random(seed);
    memory_pipe p(l, {.capacity = 1 + seed % 5, .fragment = seed % 3, .seed = seed});
    writer out(p.a, 1 + seed % 13);
    std::string taken, received;
    l.spawn([&]() -> task<> {
      for (int i = 0; i < 40; ++i) {
        const std::string text = std::to_string(i) + ",";
        const auto patience = std::chrono::milliseconds(random() % 4);
        std::size_t done = 0;
        const auto end = co_await with_timeout(patience, out.write(bytes_of(text), done));
        taken += text.substr(0, done);
        if (end) CHECK(done == text.size());
        if (!end) CHECK(end.error() == kedge::errc::timed_out);
        const auto flushing = std::chrono::milliseconds(random() % 4);
        if (random() % 3 == 0) static_cast<void>(co_await with_timeout(flushing, out.flush()));
      }
      CHECK((co_await out.flush()).has_value());
      p.a.close();
    });
    l.spawn([&]() -> task<> {
      std::array<std::byte, 3> room;
      while (const auto n = co_await p.b.read_some(room)) {
        received += text_of(std::span(room).first(*n));
        co_await sleep_for(std::chrono::milliseconds(random() % 3));
      }
    });
    CHECK(time.run() == 0);
    CHECK(received == taken);
  });
}

}  // namespace
}  // namespace kedge::net
