#include "kedge/runtime/exceptional_fd.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>

#include "byte_io.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_timeout.h"
#include "urgent_stream.h"

namespace {

using namespace std::chrono_literals;
using kedge::errc;
using kedge::exceptional_fd;
using kedge::loop;
using kedge::result;
using kedge::settle;
using kedge::task;
using kedge::urgent_stream;
using kedge::virtual_time;

task<> next_once(exceptional_fd& x, std::optional<result<void>>& out) {
  out = co_await x.next();
}

TEST_CASE("an out-of-band byte ends a wait, and without one is kept for the next wait") {
  loop l;
  const urgent_stream p;
  exceptional_fd urgent(l, p[0]);
  std::optional<result<void>> got;
  l.spawn(next_once(urgent, got));
  settle(l);
  CHECK_FALSE(got);
  p.send_urgent("!");
  kedge::drain(l);
  CHECK(got->has_value());
  CHECK(p.receive_urgent() == '!');
  p.send_urgent("?");
  CHECK(l.run(urgent.next()).has_value());
  CHECK(p.receive_urgent() == '?');
}

TEST_CASE("an out-of-band byte that has come before the constructor is reported") {
  loop l;
  const urgent_stream p;
  p.send_urgent("!");
  p.await_urgent();
  const exceptional_fd urgent(l, p[0]);
  CHECK(l.run(urgent.next()).has_value());
}

TEST_CASE("ordinary bytes end no wait, and a descriptor of the fd reads them") {
  loop l;
  const urgent_stream p;
  kedge::descriptor in(l, p[0], kedge::ownership::borrowed);
  exceptional_fd urgent(l, p[0]);
  std::optional<result<void>> got;
  l.spawn(next_once(urgent, got));
  p.send("abc");
  std::optional<result<std::string>> text;
  l.run(kedge::read_once(in, text));
  CHECK(text->value() == "abc");
  settle(l);
  CHECK_FALSE(got);
  p.send_urgent("!");
  kedge::drain(l);
  CHECK(got->has_value());
}

TEST_CASE("the end of the connection gives end_of_file, after what has come before it") {
  loop l;
  urgent_stream p;
  const exceptional_fd urgent(l, p[0]);
  p.send_urgent("!");
  CHECK(l.run(urgent.next()).has_value());
  CHECK(p.receive_urgent() == '!');
  p.close(1);
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    CHECK(l.run(urgent.next()).error() == errc::end_of_file);
  }
}

TEST_CASE("an out-of-band byte after a cancelled wait is reported by the next one") {
  virtual_time time;
  loop l(time);
  const urgent_stream p;
  const exceptional_fd urgent(l, p[0]);
  CHECK(l.run(kedge::with_timeout(1us, urgent.next())).error() == errc::timed_out);
  p.send_urgent("!");
  CHECK(l.run(urgent.next()).has_value());
}

TEST_CASE("an exceptional_fd of what is not a socket throws the kernel's error") {
  loop l;
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const auto refusal = [&] {
    try {
      const exceptional_fd urgent(l, ends[0]);
    } catch (const std::system_error& e) {
      return e.code();
    }
    return std::error_code();
  };
  CHECK(refusal() == std::errc::invalid_argument);
  for (const int fd : ends) ::close(fd);
  CHECK(refusal() == std::errc::bad_file_descriptor);
}

TEST_CASE(
    "an exceptional_fd destroyed during a wait gives errc::closed, and loop_gone without its "
    "loop") {
  const urgent_stream p;
  auto l = std::make_unique<loop>();
  auto urgent = std::make_unique<exceptional_fd>(*l, p[0]);
  const exceptional_fd other(*l, p[0]);
  std::optional<result<void>> got, second;
  l->spawn(next_once(*urgent, got));
  l->spawn(next_once(*urgent, second));
  l->poll();
  CHECK(second->error() == errc::already_awaited);
  urgent.reset();
  kedge::drain(*l);
  CHECK(got->error() == errc::closed);
  l.reset();
  loop next;
  CHECK(next.run(other.next()).error() == errc::loop_gone);
}

}  // namespace
