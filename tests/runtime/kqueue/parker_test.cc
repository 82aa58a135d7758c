// A scheduler in place of the host: what kevent() asks it where it would sleep.
#include <doctest/doctest.h>
#include <sys/event.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>

#include "kedge/runtime/base/parker.h"

namespace {

using kedge::base::parker;

struct scripted final : parker {
  ended park(const void* place, std::uint64_t until) noexcept override {
    ++parked;
    at = place;
    deadline = until;
    const ended how = while_parked ? while_parked() : ended::timed_out;
    at = nullptr;
    return how;
  }
  void unpark(const void* place) noexcept override { unparked = place == at; }
  void leave() noexcept override { ++left; }
  void note_outside(int, std::uint64_t) noexcept override { ++outside; }
  void stop_outside(const char*) noexcept override { std::abort(); }
  void run_later(work* run, std::shared_ptr<void> job) override { run(job); }
  std::uint64_t next_address(std::uint64_t) noexcept override { return 0; }
  std::uint64_t now() const noexcept override { return time; }

  std::function<ended()> while_parked;
  const void* at = nullptr;
  std::uint64_t deadline = 0;
  std::uint64_t time = 1'000'000'000;
  int parked = 0;
  int left = 0;
  int outside = 0;
  bool unparked = false;
};

// A kqueue of a thread that a scheduler runs.
struct scheduled_kqueue {
  scheduled_kqueue() : before(parker::set_of_thread(&by)), kq(kqueue()) {}
  scheduled_kqueue(const scheduled_kqueue&) = delete;
  scheduled_kqueue& operator=(const scheduled_kqueue&) = delete;
  ~scheduled_kqueue() {
    ::close(kq);
    parker::set_of_thread(before);
  }
  int change(std::int16_t filter, std::uint16_t flags, std::uint32_t fflags = 0,
             std::int64_t data = 0) const {
    struct kevent e{1, filter, flags, fflags, data, nullptr};
    return kevent(kq, &e, 1, nullptr, 0, nullptr);
  }
  int wait(const timespec* timeout = nullptr) { return kevent(kq, nullptr, 0, &event, 1, timeout); }

  scripted by;
  parker* const before;
  const int kq;
  struct kevent event{};
};

TEST_CASE("a wait parks its thread until an event comes") {
  scheduled_kqueue q;
  REQUIRE(q.change(EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  q.by.while_parked = [&] {
    REQUIRE(q.change(EVFILT_USER, 0, NOTE_TRIGGER) == 0);
    return parker::ended::woken;
  };
  CHECK(q.wait() == 1);
  CHECK(q.event.filter == EVFILT_USER);
  CHECK(q.by.parked == 1);
  CHECK(q.by.unparked);
  CHECK(q.by.deadline == parker::never);
  CHECK(q.by.left == 0);
}

TEST_CASE("a wait that finds an event does not park") {
  scheduled_kqueue q;
  REQUIRE(q.change(EVFILT_USER, EV_ADD) == 0);
  REQUIRE(q.change(EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  CHECK(q.wait() == 1);
  CHECK(q.by.parked == 0);
}

TEST_CASE("a time-out and a timer are measured by the scheduler's time") {
  scheduled_kqueue q;
  SUBCASE("a time-out") {
    q.by.while_parked = [&] {
      q.by.time = q.by.deadline;
      return parker::ended::timed_out;
    };
    const timespec timeout{5, 0};
    CHECK(q.wait(&timeout) == 0);
    CHECK(q.by.deadline == 6'000'000'000);
  }
  SUBCASE("a timer that comes before it") {
    REQUIRE(q.change(EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, 2'000'000'000) == 0);
    q.by.while_parked = [&] {
      q.by.time = q.by.deadline;
      return parker::ended::timed_out;
    };
    const timespec timeout{5, 0};
    CHECK(q.wait(&timeout) == 1);
    CHECK(q.event.filter == EVFILT_TIMER);
    CHECK(q.by.deadline == 3'000'000'000);
  }
  SUBCASE("the thread is resumed early: it parks again") {
    q.by.while_parked = [&] {
      if (q.by.parked == 3) q.by.time = q.by.deadline;
      return parker::ended::woken;
    };
    const timespec timeout{5, 0};
    CHECK(q.wait(&timeout) == 0);
    CHECK(q.by.parked == 3);
  }
}

TEST_CASE("a wait for what the kqueue does not cause is told") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  scheduled_kqueue q;
  struct kevent e{static_cast<std::uintptr_t>(ends[0]), EVFILT_READ, EV_ADD, 0, 0, nullptr};
  REQUIRE(kevent(q.kq, &e, 1, nullptr, 0, nullptr) == 0);
  q.by.while_parked = [] { return parker::ended::interrupted; };
  CHECK(q.wait() == -1);
  CHECK(q.by.outside == 1);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("an interrupted wait leaves the kqueue before the scheduler is told") {
  scheduled_kqueue q;
  q.by.while_parked = [] { return parker::ended::interrupted; };
  CHECK(q.wait() == -1);
  CHECK(errno == EINTR);
  CHECK(q.by.left == 1);
}

}  // namespace
