#include "kedge/runtime/reactor/registration.h"

#include <doctest/doctest.h>
#include <sys/event.h>
#include <unistd.h>

#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/reactor/registration_table.h"
#include "stream_pair.h"

namespace {

using kedge::errc;
using kedge::loop;
using kedge::registration;
using kedge::sharing;

// Counts what it receives.
struct counter final : kedge::listener {
  void notify(const kevent64_s&) noexcept override { ++events; }
  void closed(std::error_code why) noexcept override { end = why; }
  int events = 0;
  std::error_code end;
};

registration reading(loop& l, int fd) {
  return registration(l, sharing::exclusive, EVFILT_READ, static_cast<std::uint64_t>(fd));
}

// The two ends of a stream.
struct stream {
  std::array<int, 2> fds = kedge::socket_pair();
  stream() = default;
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
  ~stream() {
    for (const int fd : fds) {
      if (fd >= 0) ::close(fd);
    }
  }
  void send() const { REQUIRE(::write(fds[1], "x", 1) == 1); }
};

TEST_CASE("two registrations on one fd are served by turns, two waits are not") {
  loop l;
  const stream s;
  registration a = reading(l, s.fds[0]), b = reading(l, s.fds[0]);
  CHECK(a);
  CHECK(b);
  counter by_a, by_b;
  CHECK_FALSE(a.link(by_a));
  CHECK(b.link(by_b) == errc::already_awaited);
  CHECK(b.awaited());
  s.send();
  l.poll();
  CHECK(by_a.events == 1);
  CHECK(b.ready());
  by_a.unlink();
  a.clear();
  CHECK_FALSE(b.ready());
  CHECK_FALSE(b.link(by_b));
  CHECK(a.link(by_a) == errc::already_awaited);
  s.send();
  l.poll();
  CHECK(by_a.events == 1);
  CHECK(by_b.events == 1);
}

TEST_CASE("closing a registration ends its own listener, and not that of another on the same fd") {
  loop l;
  const stream s;
  std::optional<registration> first(reading(l, s.fds[0]));
  registration other = reading(l, s.fds[0]);
  counter waits;
  SUBCASE("the one that waits closes, after it was moved") {
    REQUIRE_FALSE(first->link(waits));
    registration moved = std::move(*first);
    moved.close(errc::end_of_file);
    CHECK(waits.end == errc::end_of_file);
    CHECK_FALSE(waits.linked());
    CHECK_FALSE(other.link(waits));
  }
  SUBCASE("the other one closes, and its place in memory is used again") {
    REQUIRE_FALSE(other.link(waits));
    first.reset();
    first.emplace(reading(l, s.fds[0]));
    first.reset();
    CHECK_FALSE(waits.end);
  }
  s.send();
  l.poll();
  CHECK(waits.events == 1);
}

TEST_CASE(
    "closing the fd ends every registration on it, and a later fd of that number has a "
    "registration of its own") {
  loop l;
  stream s;
  const int fd = s.fds[0];
  registration owner = reading(l, fd), other = reading(l, fd);
  counter waits;
  REQUIRE_FALSE(other.link(waits));
  SUBCASE("before the registration is submitted") {}
  SUBCASE("after it was submitted") {
    l.poll();
  }
  owner.close_with_fd();
  ::close(fd);
  s.fds[0] = -1;
  CHECK(waits.end == errc::closed);
  CHECK_FALSE(other);
  CHECK(other.link(waits) == errc::closed);

  const stream next;
  REQUIRE(::dup2(next.fds[0], fd) == fd);
  registration later = reading(l, fd);
  counter by_later;
  REQUIRE_FALSE(later.link(by_later));
  next.send();
  l.poll();
  CHECK(by_later.events == 1);
  other.close();
  later.close_with_fd();
  ::close(fd);
}

TEST_CASE("an exclusive and a shared registration of one ident exclude each other") {
  loop l;
  const stream s;
  const registration held = reading(l, s.fds[0]);
  registration shared(l, sharing::shared, EVFILT_READ, static_cast<std::uint64_t>(s.fds[0]));
  CHECK_FALSE(shared);
  counter waits;
  CHECK(shared.link(waits) == errc::already_awaited);
}

TEST_CASE("300,000 registrations are closed unsubmitted, in any order, and the loop goes on") {
  constexpr std::uint64_t many = 300'000;
  loop l;
  const stream s;
  registration kept = reading(l, s.fds[0]);
  std::deque<registration> all;
  for (std::uint64_t i = 0; i < many; ++i) {
    all.emplace_back(l, sharing::exclusive, EVFILT_USER, i + 1);
  }
  SUBCASE("the oldest first") {
    while (!all.empty()) all.pop_front();
  }
  SUBCASE("the latest first") {
    while (!all.empty()) all.pop_back();
  }
  SUBCASE("each second one first") {
    for (std::size_t i = 0; i < all.size(); i += 2) all[i].close();
    all.clear();
  }
  counter waits;
  REQUIRE_FALSE(kept.link(waits));
  s.send();
  l.poll();
  CHECK(waits.events == 1);
}

TEST_CASE("300,000 registrations are submitted, closed, and leave the kernel") {
  constexpr std::uint64_t many = 300'000;
  loop l;
  std::deque<registration> all;
  for (std::uint64_t i = 0; i < many; ++i) {
    all.emplace_back(l, sharing::exclusive, EVFILT_USER, i + 1);
  }
  l.submit_changes();
  all.clear();
  l.submit_changes();
  // The kernel refuses to trigger what it does not have.
  kevent64_s trigger{};
  trigger.ident = many;
  trigger.filter = EVFILT_USER;
  trigger.fflags = NOTE_TRIGGER;
  CHECK(kevent64(l.native_handle(), &trigger, 1, nullptr, 0, 0, nullptr) == -1);
  CHECK(errno == ENOENT);
}

TEST_CASE("an ident that is closed and registered again before the next wait is registered") {
  loop l;
  const stream s;
  counter waits;
  std::optional<registration> r(reading(l, s.fds[0]));
  l.poll();
  r.reset();
  r.emplace(reading(l, s.fds[0]));
  REQUIRE_FALSE(r->link(waits));
  s.send();
  l.poll();
  CHECK(waits.events == 1);
}

TEST_CASE("a number that is not an fd is refused by the kernel, and the listener is told") {
  loop l;
  for (const int number : {1'000, 5'000'000}) {
    CAPTURE(number);
    registration r = reading(l, number);
    counter waits;
    REQUIRE_FALSE(r.link(waits));
    l.poll();
    CHECK(waits.end == std::errc::bad_file_descriptor);
    CHECK(r.link(waits) == std::errc::bad_file_descriptor);
  }
}

TEST_CASE("an idle registration is small") {
  CHECK(sizeof(kedge::registration_slot) <= 80);
  CHECK(sizeof(registration) <= 24);
  CHECK(sizeof(kedge::listener) <= 32);
}

}  // namespace
