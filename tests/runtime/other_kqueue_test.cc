// Another kqueue as a source of a loop: a descriptor of its fd.
#include <doctest/doctest.h>
#include <sys/event.h>
#include <unistd.h>

#include <cstdint>
#include <optional>
#include <ostream>

#include "drain.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace {

using kedge::loop;
using kedge::result;
using kedge::settle;
using kedge::task;

// A kqueue of the program's own, with one user event.
class own_kqueue {
 public:
  own_kqueue() { change(EV_ADD | EV_CLEAR, 0); }
  own_kqueue(const own_kqueue&) = delete;
  own_kqueue& operator=(const own_kqueue&) = delete;
  ~own_kqueue() { ::close(fd_); }
  int fd() const noexcept { return fd_; }
  void trigger() const { change(0, NOTE_TRIGGER); }
  // Takes the events without a wait. Returns their number.
  int take() const {
    kevent64_s event{};
    const timespec no_wait{0, 0};
    return kevent64(fd_, nullptr, 0, &event, 1, 0, &no_wait);
  }

 private:
  void change(std::uint16_t flags, std::uint32_t fflags) const {
    kevent64_s c{};
    c.ident = 1;
    c.filter = EVFILT_USER;
    c.flags = flags;
    c.fflags = fflags;
    REQUIRE(kevent64(fd_, &c, 1, nullptr, 0, 0, nullptr) == 0);
  }
  const int fd_ = ::kqueue();
};

task<> readable_once(kedge::descriptor& d, std::optional<result<void>>& out) {
  out = co_await d.readable();
}

TEST_CASE("a descriptor of a kqueue is readable while the kqueue has events, and takes none") {
  const own_kqueue kq;
  loop l;
  kedge::descriptor events(l, kq.fd(), kedge::ownership::borrowed);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    std::optional<result<void>> got;
    l.spawn(readable_once(events, got));
    settle(l);
    CHECK_FALSE(got);
    kq.trigger();
    kedge::drain(l);
    CHECK(got->has_value());
    // Until they are taken.
    CHECK(l.run(events.readable()).has_value());
    CHECK(kq.take() == 1);
    CHECK(kq.take() == 0);
  }
}

TEST_CASE("a loop waits for another loop's kqueue, and drives it") {
  loop outer, inner;
  kedge::descriptor events(outer, inner.native_handle(), kedge::ownership::borrowed);
  bool ran = false;
  inner.spawn([&]() -> task<> {
    ran = true;
    co_return;
  });
  const auto drive_inner = [&]() -> task<> {
    (co_await events.readable()).value();
    settle(inner);
  };
  outer.run(drive_inner());
  CHECK(ran);
}

}  // namespace
