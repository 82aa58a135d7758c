// reader: lines, parts and frames, over streams in memory that cut and delay them.
#include "kedge/net/reader.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/net/memory_stream.h"
#include "kedge/net/write_all.h"
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
using namespace std::string_view_literals;

task<> send(memory_stream& s, std::string_view text) {
  CHECK((co_await write_all(s, bytes_of(text))).has_value());
}
task<> send_and_end(memory_stream& s, std::string_view text) {
  CHECK((co_await write_all(s, bytes_of(text))).has_value());
  CHECK(s.shutdown_write().has_value());
}

// A reader, and the peer of its stream.
struct connection {
  explicit connection(loop& l, const memory_options& o = {}, std::size_t first_size = 4096)
      : pipe(l, o), in(pipe.a, first_size) {}
  memory_pipe pipe;
  reader<memory_stream&> in;
};

std::string line(loop& l, connection& c, std::size_t limit = 100) {
  const auto got = l.run(c.in.line(limit));
  return got ? std::string(*got) : "error: " + got.error().message();
}
std::string part(loop& l, connection& c, std::string_view delimiter, std::size_t limit = 100) {
  const auto got = l.run(c.in.read_until(delimiter, limit));
  return got ? std::string(*got) : "error: " + got.error().message();
}
template <class Length = std::uint32_t>
std::string frame(loop& l, connection& c, std::size_t limit = 100) {
  const auto got = l.run(c.in.template frame<Length>(limit));
  return got ? text_of(*got) : "error: " + got.error().message();
}
const std::string at_end = "error: " + make_error_code(kedge::errc::end_of_file).message();
const std::string cut = "error: " + make_error_code(errc::cut_short).message();
const std::string exceeded = "error: " + make_error_code(errc::limit_exceeded).message();

TEST_CASE("a reader gives lines without their ends, LF or CR LF, and a last one without an end") {
  loop l;
  connection c(l);
  l.run(send_and_end(c.pipe.b, "one\r\n\ntw\ro\n\r\nlast"));
  CHECK(line(l, c) == "one");
  CHECK(line(l, c) == "");
  CHECK(line(l, c) == "tw\ro");
  CHECK(line(l, c) == "");
  CHECK(line(l, c) == "last");
  CHECK(line(l, c) == at_end);
  CHECK(line(l, c) == at_end);
}

TEST_CASE("a reader gives no line behind a last line that has its end") {
  loop l;
  connection c(l);
  l.run(send_and_end(c.pipe.b, "one\n"));
  CHECK(line(l, c) == "one");
  CHECK(line(l, c) == at_end);
}

TEST_CASE("a line as long as its limit is given, and a longer one refused and kept") {
  for (const std::size_t fragment : {0u, 1u}) {
    for (const std::string_view end : {"\n"sv, "\r\n"sv}) {
      CAPTURE(fragment);
      CAPTURE(end);
      loop l;
      connection c(l, {.fragment = fragment}, 1);
      l.run(send(c.pipe.b, "12345" + std::string(end) + "123456" + std::string(end) + "x\n"));
      CHECK(line(l, c, 5) == "12345");
      CHECK(line(l, c, 5) == exceeded);
      CHECK(line(l, c, 5) == exceeded);
      CHECK(line(l, c, 6) == "123456");
      CHECK(line(l, c, 0) == exceeded);
      CHECK(line(l, c, 1) == "x");
    }
  }
}

TEST_CASE("a last line without an end is held against the limit") {
  loop l;
  connection c(l);
  l.run(send_and_end(c.pipe.b, "123456"));
  CHECK(line(l, c, 5) == exceeded);
  CHECK(line(l, c, 6) == "123456");
}

TEST_CASE("the buffer of a reader grows up to the limit and not beyond") {
  virtual_time time;
  loop l(time);
  connection c(l, {}, 16);
  const std::string flood(10'000, 'x');
  l.run(send(c.pipe.b, flood));
  CHECK(line(l, c, 1000) == exceeded);
  CHECK(c.in.capacity() == 1002);
  CHECK(c.in.buffered().size() == 1002);
  CHECK(part(l, c, "\n", 1500) == exceeded);
  CHECK(c.in.capacity() == 1500);
}

TEST_CASE("memory for a frame grows with what arrives, not with what its length says") {
  virtual_time time;
  loop l(time);
  connection c(l, {}, 16);
  l.run(send(c.pipe.b, "\x10\0\0\0some bytes"sv));
  const auto got = l.run(with_timeout(1s, c.in.frame(1u << 30)));
  CHECK(got.error() == kedge::errc::timed_out);
  CHECK(c.in.capacity() == 16);
}

TEST_CASE("a reader gives parts with their delimiter") {
  loop l;
  connection c(l, {.fragment = 3, .seed = 5});
  l.run(send_and_end(c.pipe.b, "GET /\r\nHost: x\r\n\r\n--\r--\r\n-\r\n\r\nrest"));
  CHECK(part(l, c, "\r\n\r\n") == "GET /\r\nHost: x\r\n\r\n");
  CHECK(part(l, c, "\r\n\r\n") == "--\r--\r\n-\r\n\r\n");
  CHECK(part(l, c, "\r\n\r\n") == cut);
  CHECK(text_of(c.in.buffered()) == "rest");
  CHECK(part(l, c, "s") == "res");
  CHECK(part(l, c, "t") == "t");
  CHECK(part(l, c, "t") == at_end);
}

TEST_CASE("a part as long as its limit is given, and a longer one refused and kept") {
  loop l;
  connection c(l);
  l.run(send(c.pipe.b, "123;"));
  CHECK(part(l, c, ";", 3) == exceeded);
  CHECK(part(l, c, ";", 4) == "123;");
  CHECK_THROWS_AS(static_cast<void>(l.run(c.in.read_until("", 4))), std::system_error);
}

TEST_CASE(
    "a reader finds a delimiter whose beginning it has seen, after a search for another one") {
  loop l;
  connection c(l);
  l.run(send(c.pipe.b, "a--"));
  CHECK(text_of(*l.run(c.in.peek(3))) == "a--");

  l.spawn([&]() -> task<> {
    const auto got = co_await c.in.read_until("--b", 10);
    CHECK(std::string(*got) == "a--b");
  });
  settle(l);
  l.run(send(c.pipe.b, "b"));
  settle(l);
  CHECK(l.size() == 0);
}

TEST_CASE("a reader gives frames of each length, and takes nothing of one that is cut short") {
  loop l;
  connection c(l);
  l.run(send_and_end(c.pipe.b, "\x02hi\0\x03you\0\0\0\0\0\0\0\0\0\0\0\x01!\0\0\0\x04pa"sv));
  CHECK(frame<std::uint8_t>(l, c) == "hi");
  CHECK(frame<std::uint16_t>(l, c) == "you");
  CHECK(frame<std::uint32_t>(l, c) == "");
  CHECK(frame<std::uint64_t>(l, c) == "!");
  CHECK(frame(l, c) == cut);
  CHECK(text_of(c.in.buffered()) == "\0\0\0\x04pa"sv);
  c.in.consume(6);
  CHECK(frame(l, c) == at_end);
}

TEST_CASE("a frame that is longer than the limit is refused by its length alone") {
  loop l;
  connection c(l);
  l.run(send(c.pipe.b, "\xff\xff\xff\xff\xff\xff\xff\xff"sv));
  CHECK(frame<std::uint64_t>(l, c) == exceeded);
  CHECK(frame<std::uint64_t>(l, c, SIZE_MAX) == exceeded);
  CHECK(frame<std::uint16_t>(l, c, 65534) == exceeded);
}

TEST_CASE("peek gives bytes that stay, and consume takes them") {
  loop l;
  connection c(l, {.fragment = 1});
  l.run(send_and_end(c.pipe.b, "abc"));
  CHECK(text_of(*l.run(c.in.peek(2))) == "ab");
  CHECK(text_of(*l.run(c.in.peek(1))) == "a");
  CHECK_THROWS_AS(c.in.consume(3), std::system_error);
  c.in.consume(1);
  CHECK(text_of(*l.run(c.in.peek(2))) == "bc");
  CHECK(l.run(c.in.peek(3)).error() == errc::cut_short);
  c.in.consume(2);
  CHECK(l.run(c.in.peek(0))->empty());
  CHECK(l.run(c.in.peek(1)).error() == kedge::errc::end_of_file);
}

TEST_CASE("read_some of a reader gives what is buffered first, and then reads the stream") {
  loop l;
  connection c(l, {}, 8);
  std::array<std::byte, 20> room;
  l.run(send_and_end(c.pipe.b, "line\n0123456789abcdefghijklmnopqrstuvwxyz"));
  CHECK(line(l, c) == "line");
  CHECK(*l.run(c.in.read_some(std::span(room).first(2))) == 2);
  CHECK(*l.run(c.in.read_some(room)) == 1);
  CHECK(c.in.buffered().empty());
  // The stream fills a room that is as large as the buffer.
  CHECK(*l.run(c.in.read_some(room)) == 20);
  CHECK(text_of(room) == "3456789abcdefghijklm");
  CHECK(c.in.buffered().empty());
  // A smaller one is served by the buffer.
  CHECK(*l.run(c.in.read_some(std::span(room).first(3))) == 3);
  CHECK(c.in.buffered().size() == 5);
  CHECK(*l.run(c.in.read_some({})) == 0);
  std::size_t done = 0;
  CHECK(l.run(read_exactly(c.in, std::span(room).first(10), done)).has_value());
  CHECK(text_of(std::span(room).first(10)) == "qrstuvwxyz");
  CHECK(l.run(c.in.read_some(room)).error() == kedge::errc::end_of_file);
  CHECK(l.run(c.in.read_some(std::span(room).first(1))).error() == kedge::errc::end_of_file);
}

TEST_CASE("a second task that reads while one waits gets errc::already_awaited") {
  loop l;
  connection c(l);
  std::string got;
  l.run(send(c.pipe.b, "li"));
  l.spawn([&]() -> task<> { got = std::string(*co_await c.in.line(100)); });
  settle(l);
  std::array<std::byte, 1> room;
  const std::error_code taken = kedge::errc::already_awaited;
  CHECK(l.run(c.in.line(100)).error() == taken);
  CHECK(l.run(c.in.read_until("\n", 100)).error() == taken);
  CHECK(l.run(c.in.frame(100)).error() == taken);
  CHECK(l.run(c.in.peek(1)).error() == taken);
  CHECK(l.run(c.in.read_some(room)).error() == taken);
  CHECK_THROWS_AS(c.in.consume(1), std::system_error);
  l.run(send(c.pipe.b, "ne\n"));
  settle(l);
  CHECK(got == "line");
}

TEST_CASE("a reader gives the errors of its stream, behind the lines that came before") {
  loop l;
  connection c(l);
  l.run(send(c.pipe.b, "one\ntw"));
  CHECK(line(l, c) == "one");
  c.pipe.b.reset();
  CHECK(l.run(c.in.line(100)).error() == std::errc::connection_reset);
  CHECK(l.run(c.in.frame(1 << 30)).error() == std::errc::connection_reset);
}

TEST_CASE("a reader can own its stream, and can be moved with what it has read") {
  loop l;
  memory_pipe p(l);
  l.run(send_and_end(p.b, "one\ntwo\n"));
  reader first(std::move(p.a));
  CHECK(std::string(*l.run(first.line(10))) == "one");
  reader second(std::move(first));
  CHECK(std::string(*l.run(second.line(10))) == "two");
  second.source().close();
  CHECK(l.run(second.line(10)).error() == kedge::errc::closed);
  CHECK_THROWS_AS((reader<memory_stream>(std::move(p.b), 0)), std::system_error);
}

TEST_CASE("a reader whose task is destroyed as it waits goes on where it was") {
  loop other;
  memory_pipe p(other);
  reader in(p.a);
  {
    loop l;
    other.run(send(p.b, "li"));
    l.spawn([&]() -> task<> { static_cast<void>(co_await in.line(10)); });
    settle(l);
  }
  CHECK(text_of(in.buffered()) == "li");
  other.run(send(p.b, "ne\n"));
  CHECK(std::string(*other.run(in.line(10))) == "line");
}

// --- Random cuts and cancellations ---------------------------------------------------------------

// The calls that a test makes, one after the other, and what they give for one input.
constexpr std::string_view input =
    "GET / HTTP/1.1\r\nHost: kedge\r\n\r\n\0\x05hello\x03"
    "abc\0\0\0\0\0\0\0\x02zz12345678last"sv;
using call = std::function<task<result<std::string>>(reader<memory_stream&>&)>;
template <class View>
task<result<std::string>> copied(task<result<View>> t) {
  const auto got = co_await std::move(t);
  if (!got) co_return unexpected(got.error());
  co_return std::string(reinterpret_cast<const char*>(got->data()), got->size());
}
task<result<std::string>> some(reader<memory_stream&>& in) {
  std::array<std::byte, 8> room;
  const auto n = co_await in.read_some(room);
  if (!n) co_return unexpected(n.error());
  co_return text_of(std::span(room).first(*n));
}
const std::vector<call> calls = {
    [](auto& in) { return copied(in.line(20)); },
    [](auto& in) { return copied(in.read_until("\r\n\r\n", 20)); },
    [](auto& in) { return copied(in.template frame<std::uint16_t>(5)); },
    [](auto& in) { return copied(in.template frame<std::uint8_t>(3)); },
    [](auto& in) { return copied(in.template frame<std::uint64_t>(3)); },
    some,
    [](auto& in) { return copied(in.line(20)); },
};

// Makes each call until it gives something, and cancels it at random times. Joins all that is
// given.
task<> make_calls(reader<memory_stream&>& in, std::minstd_rand& random, int longest_ms,
                  std::string& out, int& cancelled) {
  for (const call& c : calls) {
    for (;;) {
      const auto patience = std::chrono::milliseconds(random() % static_cast<unsigned>(longest_ms));
      const auto got = co_await with_timeout(patience, c(in));
      if (!got && got.error() == kedge::errc::timed_out) {
        ++cancelled;
        continue;
      }
      if (!got) {
        out += "error: " + got.error().message();
        co_return;
      }
      out += *got + "|";
      break;
    }
  }
}
task<> send_slowly(memory_stream& s, std::minstd_rand& random) {
  std::string_view rest = input;
  while (!rest.empty()) {
    co_await sleep_for(std::chrono::milliseconds(random() % 3));
    const std::size_t n = std::min<std::size_t>(random() % 4 + 1, rest.size());
    CHECK((co_await write_all(s, bytes_of(rest.substr(0, n)))).has_value());
    rest.remove_prefix(n);
  }
  CHECK(s.shutdown_write().has_value());
}

// Plays all of it once. Returns how many calls were cancelled.
int play_calls(std::uint32_t seed, int longest_ms) {
  virtual_time time;
  loop l(time);
  std::minstd_rand random(seed);
  memory_pipe p(l, {.capacity = 1 + seed % 17,
                    .delay = std::chrono::milliseconds(seed % 5),
                    .fragment = seed % 4,
                    .seed = seed});
  reader in(p.a, 1 + seed % 11);
  std::string out;
  int cancelled = 0;
  l.spawn(send_slowly, std::ref(p.b), std::ref(random));
  l.spawn(make_calls, std::ref(in), std::ref(random), longest_ms, std::ref(out),
          std::ref(cancelled));
  CHECK(time.run() == 0);
  // How many bytes read_some() gives is free: the bar behind them is not compared.
  REQUIRE(std::count(out.begin(), out.end(), '|') == 7);
  std::size_t bar = 0;
  for (int i = 0; i < 6; ++i) bar = out.find('|', bar + (i != 0));
  out.erase(bar, 1);
  CHECK(out == "GET / HTTP/1.1|Host: kedge\r\n\r\n|hello|abc|zz|12345678last|");
  return cancelled;
}

TEST_CASE(
    "however the input is cut, and however often calls are cancelled, a reader gives the same") {
  test::play_seeds(300, [](std::uint64_t seed) {
    CAPTURE(seed);
    play_calls(static_cast<std::uint32_t>(seed), 1'000'000);
    CHECK(play_calls(static_cast<std::uint32_t>(seed), 5) > 0);
  });
}

}  // namespace
}  // namespace kedge::net
