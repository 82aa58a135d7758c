// reading() and writing(): transfers that a caller brings.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "byte_io.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/yield.h"
#include "stream_pair.h"

namespace {

using kedge::descriptor;
using kedge::errc;
using kedge::loop;
using kedge::result;
using kedge::stream_pair;
using kedge::task;
using kedge::unexpected;

// Takes one byte, and counts its calls.
struct take_byte {
  int* calls;
  std::optional<result<char>> operator()(int fd) const {
    ++*calls;
    char c = 0;
    const ssize_t n = ::recv(fd, &c, 1, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return std::nullopt;
    if (n < 0) return unexpected(std::error_code(errno, std::system_category()));
    if (n == 0) return unexpected(errc::end_of_file);
    return c;
  }
};

void send_byte(const descriptor& d, char c) {
  REQUIRE(::send(d.native_handle(), &c, 1, 0) == 1);
}

TEST_CASE("reading() tries at once, then each time that the file may be ready") {
  loop l;
  stream_pair p(l);
  int calls = 0;
  send_byte(p.a, 'x');
  CHECK(l.run(p.b.reading(take_byte{&calls})).value() == 'x');
  CHECK(calls == 1);
  std::optional<result<char>> got;
  l.spawn([&]() -> task<> { got = co_await p.b.reading(take_byte{&calls}); });
  kedge::settle(l);
  CHECK(calls == 2);
  CHECK_FALSE(got);
  send_byte(p.a, 'y');
  kedge::drain(l);
  CHECK(got->value() == 'y');
  CHECK(calls == 3);
}

TEST_CASE("an error that a transfer gives is the result, with the name and fd of the wait") {
  loop l;
  stream_pair p(l);
  int calls = 0;
  p.a.close();
  const result<char> got = l.run(p.b.reading(take_byte{&calls}));
  CHECK(got.error() == errc::end_of_file);
  std::string text;
  try {
    static_cast<void>(got.value());
  } catch (const std::system_error& e) {
    text = e.what();
  }
  CHECK(text.starts_with("reading fd " + std::to_string(p.b.native_handle()) + ", at "));
}

TEST_CASE(
    "an exception of a transfer is thrown by the co_await, at the first try and at a later one") {
  loop l;
  for (const bool waits : {false, true}) {
    CAPTURE(waits);
    stream_pair p(l);
    bool may_throw = !waits;
    const auto transfer = [&](int) -> std::optional<result<void>> {
      if (may_throw) throw std::runtime_error("no");
      return std::nullopt;
    };
    std::string caught;
    l.spawn([&]() -> task<> {
      try {
        static_cast<void>(co_await p.b.reading(transfer));
      } catch (const std::runtime_error& e) {
        caught = e.what();
      }
    });
    kedge::settle(l);
    CHECK(caught == (waits ? "" : "no"));
    may_throw = true;
    if (waits) send_byte(p.a, 'x');
    kedge::drain(l);
    CHECK(caught == "no");
    // The direction is free.
    int calls = 0;
    if (!waits) send_byte(p.a, 'x');
    CHECK(l.run(p.b.reading(take_byte{&calls})).value() == 'x');
  }
}

TEST_CASE("a cancelled transfer is not called again, and what arrives stays in the file") {
  loop l;
  stream_pair p(l);
  int calls = 0;
  l.run([](descriptor& d, int& n) -> task<> {
    co_await kedge::when_any(d.reading(take_byte{&n}), kedge::yield());
  }(p.b, calls));
  CHECK(calls == 1);
  send_byte(p.a, 'x');
  kedge::settle(l);
  CHECK(calls == 1);
  CHECK(l.run(p.b.reading(take_byte{&calls})).value() == 'x');
}

TEST_CASE("a transfer is destroyed once: waited for, unawaited, and destroyed during its wait") {
  const auto token = std::make_shared<int>(0);
  {
    loop l;
    stream_pair p(l);
    const auto transfer = [kept =
                               std::shared_ptr<int>(token)](int fd) -> std::optional<result<void>> {
      int calls = 0;
      if (!take_byte{&calls}(fd)) return std::nullopt;
      return result<void>();
    };
    {
      const auto unawaited = p.a.reading(transfer);
    }
    CHECK(token.use_count() == 2);
    send_byte(p.a, 'x');
    CHECK(l.run(p.b.reading(transfer)));
    CHECK(token.use_count() == 2);
    l.spawn([&]() -> task<> { static_cast<void>(co_await p.b.reading(transfer)); });
    l.poll();
    CHECK(token.use_count() == 3);
  }
  CHECK(token.use_count() == 1);
}

TEST_CASE("a transfer that closes its descriptor, which wakes its own task, ends the wait once") {
  loop l;
  stream_pair p(l);
  std::string seen;
  l.spawn([&]() -> task<> {
    const auto take_last = [&](int fd) -> std::optional<result<char>> {
      char c = 0;
      if (::recv(fd, &c, 1, MSG_DONTWAIT) != 1) return std::nullopt;
      p.b.close();
      return c;
    };
    seen += (co_await p.b.reading(take_last)).value();
    co_await kedge::yield();
    seen += '.';
  });
  kedge::settle(l);
  send_byte(p.a, 'x');
  kedge::drain(l);
  CHECK(seen == "x.");
}

TEST_CASE("a file that may block is probed, so that its transfer is not called in vain") {
  loop l;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  descriptor in(l, ends[0], kedge::ownership::owned);
  descriptor out(l, ends[1], kedge::ownership::owned);
  int calls = 0;
  const auto read_byte = [&](int fd) -> std::optional<result<char>> {
    ++calls;
    char c = 0;
    if (::read(fd, &c, 1) != 1) return unexpected(errc::end_of_file);
    return c;
  };
  std::optional<result<char>> got;
  l.spawn([&]() -> task<> { got = co_await in.reading(read_byte); });
  kedge::settle(l);
  CHECK(calls == 0);
  CHECK(l.run(out.writing([](int fd) -> std::optional<result<ssize_t>> {
           return ::write(fd, "x", 1);
         })).value() == 1);
  kedge::drain(l);
  CHECK(got->value() == 'x');
  CHECK(calls == 1);
}

TEST_CASE("after stopped_after() the next wait sleeps without a try") {
  loop l;
  stream_pair p(l);
  int calls = 0;
  const auto read_all = [&](int fd,
                            kedge::transfer_progress& progress) -> std::optional<result<ssize_t>> {
    ++calls;
    std::array<char, 16> buffer{};
    const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n < 0) return std::nullopt;
    progress.stopped_after(static_cast<std::size_t>(n));
    return n;
  };
  int got = 0;
  l.spawn([&]() -> task<> {
    for (; got < 10; ++got) CHECK((co_await p.b.reading(read_all)).value() == 1);
  });
  kedge::settle(l);
  CHECK(calls == 1);  // before the first registration readiness is unknown
  for (int i = 1; i <= 10; ++i) {
    CAPTURE(i);
    send_byte(p.a, 'x');
    while (got < i) l.run_once();
    CHECK(calls == 1 + i);
  }
  kedge::drain(l);
}

TEST_CASE("a transfer gives values that are move-only, references or void") {
  loop l;
  stream_pair p(l);
  int there = 7;
  CHECK(*l.run(p.a.writing([](int) -> std::optional<result<std::unique_ptr<int>>> {
            return std::make_unique<int>(3);
          })).value() == 3);
  int& same = l.run(p.a.writing([&](int) -> std::optional<result<int&>> { return there; })).value();
  CHECK(&same == &there);
  CHECK(l.run(p.a.writing([](int) -> std::optional<result<void>> { return result<void>(); })));
}

TEST_CASE("a second transfer in a direction gets already_awaited, and is not called") {
  loop l;
  stream_pair p(l);
  int first = 0, second = 0;
  l.spawn([&]() -> task<> { static_cast<void>(co_await p.b.reading(take_byte{&first})); });
  l.poll();
  CHECK(l.run(p.b.reading(take_byte{&second})).error() == errc::already_awaited);
  CHECK(second == 0);
  send_byte(p.a, 'x');
  kedge::drain(l);
}

TEST_CASE("a transfer of a closed descriptor gets errc::closed, and is not called") {
  loop l;
  descriptor never_opened;
  int calls = 0;
  CHECK(l.run(never_opened.reading(take_byte{&calls})).error() == errc::closed);
  stream_pair p(l);
  std::optional<result<char>> got;
  l.spawn([&]() -> task<> { got = co_await p.b.reading(take_byte{&calls}); });
  l.poll();
  send_byte(p.a, 'x');
  p.b.close();
  kedge::drain(l);
  CHECK(got->error() == errc::closed);
  CHECK(calls == 1);
}

// A wait is small in its frame, and an idle file has nothing but its record.
static_assert(sizeof(kedge::operation_of<decltype(std::declval<descriptor&>().read_some({}))>) <=
              6 * sizeof(void*));
static_assert(sizeof(descriptor) == sizeof(void*));
static_assert(sizeof(kedge::descriptor_file) <= 13 * sizeof(void*));

}  // namespace
