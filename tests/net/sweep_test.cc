// Every awaitable of net, interrupted at every point and short of memory at every allocation.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kedge/net/any_stream.h"
#include "kedge/net/memory_stream.h"
#include "kedge/net/reader.h"
#include "kedge/net/unix_datagram_socket.h"
#include "kedge/net/writer.h"
#include "kedge/runtime/loop.h"
#include "tests/runtime/counted_new.h"
#include "tests/runtime/sweep.h"

namespace kedge::net {
namespace {

using namespace std::chrono_literals;

// --- Streams in memory ---------------------------------------------------------------------------

// The first awaitable is older than its wait, and may outlive its stream.
class memory_world : public scenario {
 public:
  memory_world(loop& l, virtual_time& time, const memory_options& o) : pipe(l, o), time_(time) {}
  void close() override { pipe.a.close(); }

 protected:
  // Of the peer, which has a loop of its own.
  std::size_t write(std::size_t n) {
    loop own;
    return own.run(pipe.b.write_some(std::span(block).first(n))).value_or(0);
  }
  std::size_t read() {
    loop own;
    return own.run(pipe.b.read_some(block)).value_or(0);
  }
  void pass_time() { time_.advance(1s); }

  memory_pipe pipe;
  std::array<std::byte, 4> block{};

 private:
  virtual_time& time_;
};

class reading_memory : public memory_world {
 public:
  reading_memory(loop& l, virtual_time& time) : reading_memory(l, time, {}) {}
  memory_awaitable<memory_read> awaited() {
    if (first_) return *std::exchange(first_, std::nullopt);
    return pipe.a.read_some(room_);
  }
  void complete() override { given_ += write(1); }
  void took(const result<std::size_t>& n) {
    if (n) taken_ += *n;
    scenario::took(n);
  }
  // What was not taken is still there.
  bool nothing_missing() override {
    pass_time();
    loop own;
    while (taken_ < given_) {
      auto rest = pipe.a.read_some(room_);
      const result<std::size_t> n = own.run(std::move(rest));
      if (!n) return n.error() == kedge::errc::closed;
      taken_ += *n;
    }
    return taken_ == given_;
  }

 protected:
  reading_memory(loop& l, virtual_time& time, const memory_options& o) : memory_world(l, time, o) {}

 private:
  std::array<std::byte, 4> room_{};
  std::optional<memory_awaitable<memory_read>> first_ = pipe.a.read_some(room_);
  std::size_t given_ = 0;
  std::size_t taken_ = 0;
};

class writing_memory : public memory_world {
 public:
  writing_memory(loop& l, virtual_time& time) : memory_world(l, time, {.capacity = 4}) { fill(); }
  memory_awaitable<memory_write> awaited() {
    if (first_) return *std::exchange(first_, std::nullopt);
    return pipe.a.write_some(std::span(block).first(1));
  }
  void complete() override {
    if (received_ < written_) received_ += read();
  }
  void took(const result<std::size_t>& n) {
    if (n) written_ += *n;
    scenario::took(n);
  }
  // What was written arrives, and nothing else.
  bool nothing_missing() override {
    while (received_ < written_) received_ += read();
    fill();
    return received_ <= written_;
  }

 private:
  void fill() {
    loop own;
    std::size_t n = 1;
    while (n != 0 && written_ - received_ < 4) {
      n = own.run(pipe.a.write_some(std::span(block).first(1))).value_or(0);
      written_ += n;
    }
  }

  std::optional<memory_awaitable<memory_write>> first_ =
      pipe.a.write_some(std::span(block).first(1));
  std::size_t received_ = 0;
  std::size_t written_ = 0;
};

// --- Readers and writers -------------------------------------------------------------------------

// Gives items of two bytes, byte by byte, to a task that reads one.
template <class Item>
class reading_item : public memory_world {
 public:
  reading_item(loop& l, virtual_time& time) : memory_world(l, time, {}) {}
  auto awaited() { return Item::read(in_); }
  void complete() override {
    loop own;
    const char next = Item::bytes[given_ % 2];
    given_ += own.run(pipe.b.write_some(std::as_bytes(std::span(&next, 1)))).value_or(0);
  }
  void close() override {
    is_closed_ = true;
    memory_world::close();
  }
  template <class T>
  void took(const result<T>& item) {
    if (item) items_ += Item::is_right(in_, *item);
    scenario::took(item);
  }
  // Each item that was given is read once, and whole.
  bool nothing_missing() override {
    loop own;
    while (!is_closed_ && items_ < given_ / 2) {
      const auto item = own.run(Item::read(in_));
      if (!item || !Item::is_right(in_, *item)) return false;
      ++items_;
    }
    return is_closed_ ? items_ <= given_ / 2 : items_ == given_ / 2;
  }

 private:
  reader<memory_stream&> in_{pipe.a};
  std::size_t given_ = 0;
  std::size_t items_ = 0;
  bool is_closed_ = false;
};

using memory_reader = reader<memory_stream&>;
struct line_item {
  static constexpr std::string_view bytes = "x\n";
  static auto read(memory_reader& in) { return in.line(10); }
  static bool is_right(memory_reader&, std::string_view line) { return line == "x"; }
};
struct delimited_item {
  static constexpr std::string_view bytes = "x;";
  static auto read(memory_reader& in) { return in.read_until(";", 10); }
  static bool is_right(memory_reader&, std::string_view part) { return part == "x;"; }
};
struct frame_item {
  static constexpr std::string_view bytes = "\x01x";
  static auto read(memory_reader& in) { return in.frame<std::uint8_t>(10); }
  static bool is_right(memory_reader&, std::span<const std::byte> frame) {
    return frame.size() == 1 && frame[0] == std::byte{'x'};
  }
};
struct peeked_item {
  static constexpr std::string_view bytes = "xy";
  static auto read(memory_reader& in) { return in.peek(2); }
  static bool is_right(memory_reader& in, std::span<const std::byte> seen) {
    const bool is_right = seen.size() == 2 && seen[1] == std::byte{'y'};
    in.consume(2);
    return is_right;
  }
};

// Takes bytes, one by one, from a task that writes and flushes.
class flushing : public memory_world {
 public:
  flushing(loop& l, virtual_time& time) : memory_world(l, time, {.capacity = 1}) {}
  task<result<void>> awaited() {
    const auto written = co_await out_.write("ab");
    if (!written) co_return written;
    taken_ += 2;
    co_return co_await out_.flush();
  }
  void complete() override {
    if (in_pipe() != 0) received_ += read();
  }
  // Each byte that the writer has taken arrives, or is in its buffer.
  bool nothing_missing() override {
    while (in_pipe() != 0) received_ += read();
    return received_ + out_.buffered().size() == taken_;
  }

 private:
  std::size_t in_pipe() const noexcept { return taken_ - out_.buffered().size() - received_; }

  writer<memory_stream&> out_{pipe.a};
  std::size_t taken_ = 0;
  std::size_t received_ = 0;
};

// Takes bytes, one by one, from a writer of three bytes at a time. The derived class knows how many
// of them the writer has taken.
class writing_world : public memory_world {
 public:
  void complete() override {
    if (in_pipe() != 0) receive();
  }
  // Each byte that the writer has taken arrives once and in its place, or is in its buffer.
  bool nothing_missing() override {
    while (in_pipe() != 0) receive();
    std::string all = received_;
    for (const std::byte b : out.buffered()) all += static_cast<char>(b);
    std::string expected;
    while (expected.size() < all.size()) expected += text_;
    return all.size() == taken() && expected.starts_with(all);
  }

 protected:
  writing_world(loop& l, virtual_time& time, std::string_view text, std::size_t high_water)
      : memory_world(l, time, {.capacity = 1}), out(pipe.a, high_water), text_(text) {}
  virtual std::size_t taken() const noexcept = 0;

  writer<memory_stream&> out;

 private:
  std::size_t in_pipe() const noexcept {
    return taken() - out.buffered().size() - received_.size();
  }
  void receive() {
    if (read() == 1) received_ += static_cast<char>(block[0]);
  }

  std::string_view text_;
  std::string received_;
};

// Beyond the high-water mark: the stream takes the bytes of the caller. A wait that was interrupted
// goes on by its count.
class writing_counted : public writing_world {
 public:
  writing_counted(loop& l, virtual_time& time) : writing_world(l, time, text, 1) {}
  task<result<void>> awaited() {
    if (done_ == text.size()) {
      before_ += std::exchange(done_, 0);
    }
    return out.write(std::as_bytes(std::span(text)), done_);
  }

 protected:
  std::size_t taken() const noexcept override { return before_ + done_; }

 private:
  static constexpr std::string_view text = "abc";
  std::size_t before_ = 0;
  std::size_t done_ = 0;
};

// The second frame waits until the buffer has room for it.
class writing_frames : public writing_world {
 public:
  writing_frames(loop& l, virtual_time& time) : writing_world(l, time, "\x02xy", 4) {}
  task<result<void>> awaited() {
    constexpr std::string_view body = "xy";
    for (int i = 0; i < 2; ++i) {
      const auto end = co_await out.frame<std::uint8_t>(std::as_bytes(std::span(body)));
      if (!end) co_return end;
      taken_ += 3;
    }
    co_return result<void>();
  }

 protected:
  std::size_t taken() const noexcept override { return taken_; }

 private:
  std::size_t taken_ = 0;
};

// --- Datagrams -----------------------------------------------------------------------------------

// Gives datagrams to a task that receives one. The first awaitable may outlive the socket.
class receiving_datagram : public scenario {
 public:
  receiving_datagram(loop& l, virtual_time&) : ends_(unix_datagram_socket::pair(l)) {}
  transfer_awaitable<direction::reading, one_datagram> awaited() {
    if (first_) return *std::exchange(first_, std::nullopt);
    return ends_.first.receive(room_);
  }
  void complete() override {
    if (!ends_.first) return;
    REQUIRE(::send(ends_.second.native_handle(), "x", 1, MSG_DONTWAIT) == 1);
    ++given_;
  }
  void close() override { ends_.first.close(); }
  // What was not delivered is still at the socket.
  bool nothing_missing() override {
    char byte;
    while (::recv(ends_.first.native_handle(), &byte, 1, MSG_DONTWAIT) == 1) ++taken_;
    return ends_.first ? given_ == delivered + taken_ : given_ >= delivered + taken_;
  }
  std::vector<registered> registrations() const override {
    return {{EVFILT_READ, static_cast<std::uint64_t>(fd_)}};
  }

 private:
  std::array<std::byte, 4> room_{};
  std::pair<unix_datagram_socket, unix_datagram_socket> ends_;
  const int fd_ = ends_.first.native_handle();
  std::optional<transfer_awaitable<direction::reading, one_datagram>> first_ =
      ends_.first.receive(room_);
  int given_ = 0;
  int taken_ = 0;
};

TEST_CASE("a read of a stream in memory survives every interruption") {
  sweep<reading_memory>("memory_awaitable");
}
TEST_CASE("a write to a stream in memory survives every interruption") {
  sweep<writing_memory>("memory_awaitable");
}

TEST_CASE("what a reader reads survives every interruption") {
  SUBCASE("line") {
    sweep<reading_item<line_item>>("task");
  }
  SUBCASE("read_until") {
    sweep<reading_item<delimited_item>>("task");
  }
  SUBCASE("frame") {
    sweep<reading_item<frame_item>>("task");
  }
  SUBCASE("peek") {
    sweep<reading_item<peeked_item>>("task");
  }
}
TEST_CASE("a writer's large write survives every interruption, and goes on by its count") {
  sweep<writing_counted>("task");
}
TEST_CASE("a writer's frames survive every interruption") {
  sweep<writing_frames>("task");
}
TEST_CASE("a writer's flush survives every interruption") {
  sweep<flushing>("task");
}
TEST_CASE("a receive of a datagram survives every interruption") {
  sweep<receiving_datagram>("transfer_awaitable");
}

// --- Allocations ---------------------------------------------------------------------------------

task<> write_items(writer<memory_stream&>& out, int count) {
  constexpr std::string_view text = "forty bytes, or a few more of them, a line";
  for (int i = 0; i < count; ++i) {
    REQUIRE((co_await out.write(text)).has_value());
    REQUIRE((co_await out.write("\n")).has_value());
    REQUIRE((co_await out.frame(std::as_bytes(std::span(text)))).has_value());
  }
  REQUIRE((co_await out.flush()).has_value());
}
task<> read_items(reader<any_stream&>& in, int count) {
  for (int i = 0; i < count; ++i) {
    REQUIRE((co_await in.line(100)).has_value());
    REQUIRE((co_await in.frame(100)).has_value());
  }
}

TEST_CASE("readers, writers and any_streams allocate nothing in the steady state") {
  loop l;
  memory_pipe p(l, {.capacity = 256});
  any_stream from(std::move(p.b));
  writer out(p.a, 512);
  reader in(from);
  const auto allocations_of = [&](int count) {
    const long before = allocated;
    l.spawn(write_items, std::ref(out), count);
    l.run(read_items(in, count));
    return allocated - before;
  };
  allocations_of(100);
  const long few = allocations_of(100);
  CHECK(allocations_of(10'000) == few);  // those of the two tasks that are started
}

}  // namespace
}  // namespace kedge::net
