// The order of events: knote_enqueue(), knote_process() and kqfile_end_processing() of Darwin's
// kern_event.c.

#include "test_kqueue.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

namespace {

// What identifies an event: the filter, and the ident or udata.
struct place {
  int filter;
  std::uint64_t id;
  bool operator==(const place&) const = default;
};
using places = std::vector<place>;

places places_of(const event_list& events) {
  places all;
  for (const kevent64_s& e : events) all.push_back({e.filter, e.udata != 0 ? e.udata : e.ident});
  return all;
}

bool is_readable(const test_kqueue& kq) {
  pollfd p{kq.fd(), POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

// Ignores a signal as long as it lives.
class ignored_signal {
 public:
  explicit ignored_signal(int number) : number_(number), before_(::signal(number, SIG_IGN)) {}
  ignored_signal(const ignored_signal&) = delete;
  ignored_signal& operator=(const ignored_signal&) = delete;
  ~ignored_signal() { ::signal(number_, before_); }

 private:
  int number_;
  void (*before_)(int);
};

void send(int signal) {
  REQUIRE(::kill(::getpid(), signal) == 0);
}

}  // namespace

template <>
struct doctest::StringMaker<places> {
  static String convert(const places& all) {
    String out;
    for (const place& p : all) out += toString(p.filter) + ":" + toString(p.id) + " ";
    return out;
  }
};

TEST_CASE("events of all filters come in the order of activation") {
  const ignored_signal usr1(SIGUSR1);
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(2, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, 100) == 0);
  const auto trigger = [&](int ident) {
    REQUIRE(kq.apply(ident, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  };
  const auto start_due_timer = [&](int ident) {
    REQUIRE(kq.apply(ident, EVFILT_TIMER, EV_ADD, 0, 0) == 0);
  };
  const place user_1{EVFILT_USER, 1}, user_2{EVFILT_USER, 2}, timer{EVFILT_TIMER, 3},
      signal{EVFILT_SIGNAL, 100};
  SUBCASE("user, timer, signal, user") {
    trigger(2);
    start_due_timer(3);
    send(SIGUSR1);
    trigger(1);
    CHECK(places_of(kq.now()) == places{user_2, timer, signal, user_1});
  }
  SUBCASE("signal, user, timer") {
    send(SIGUSR1);
    trigger(1);
    send(SIGUSR1);
    start_due_timer(3);
    CHECK(places_of(kq.now()) == places{signal, user_1, timer});
  }
  SUBCASE("timer, signal") {
    start_due_timer(3);
    send(SIGUSR1);
    CHECK(places_of(kq.now()) == places{timer, signal});
  }
  SUBCASE("a second activation keeps the place of the first") {
    trigger(1);
    trigger(2);
    trigger(1);
    CHECK(places_of(kq.now()) == places{user_1, user_2});
  }
  SUBCASE("disabling and enabling puts a knote at the end") {
    trigger(1);
    trigger(2);
    REQUIRE(kq.apply(1, EVFILT_USER, EV_DISABLE) == 0);
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE) == 0);
    CHECK(places_of(kq.now()) == places{user_2, user_1});
  }
}

TEST_CASE("of one signal the newest knote comes first, and signals come in the order of arrival") {
  const ignored_signal usr1(SIGUSR1);
  const ignored_signal usr2(SIGUSR2);
  const test_kqueue kq;
  const auto watch = [&](int signal, std::uint64_t udata) {
    REQUIRE(kq.apply(signal, EVFILT_SIGNAL, EV_ADD | EV_UDATA_SPECIFIC, 0, 0, udata) == 0);
  };
  watch(SIGUSR1, 1);
  watch(SIGUSR2, 2);
  watch(SIGUSR1, 3);
  watch(SIGUSR2, 4);
  const place first{EVFILT_SIGNAL, 1}, second{EVFILT_SIGNAL, 2}, third{EVFILT_SIGNAL, 3},
      fourth{EVFILT_SIGNAL, 4};
  send(SIGUSR2);
  send(SIGUSR1);
  send(SIGUSR2);
  CHECK(places_of(kq.now()) == places{fourth, second, third, first});
  send(SIGUSR1);
  send(SIGUSR2);
  CHECK(places_of(kq.now()) == places{third, first, fourth, second});
}

TEST_CASE("a last event comes in its place, after what was active before") {
  const test_kqueue kq;
  constexpr unsigned dispatch2 = EV_DISPATCH2;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_DISABLE | dispatch2, 0, 0, 7) == 0);
  REQUIRE(kq.apply(2, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
  REQUIRE(kq.apply(3, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  const place ended{EVFILT_USER, 7}, before{EVFILT_USER, 2}, after{EVFILT_USER, 3};
  SUBCASE("EV_DELETE") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_DELETE | dispatch2, 0, 0, 7) == EINPROGRESS);
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE | dispatch2, 0, 0, 7) == 0);
    REQUIRE(kq.apply(3, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
    const event_list got = kq.now();
    CHECK(places_of(got) == places{before, ended, after});
    CHECK(got[1].flags == (EV_DELETE | EV_ONESHOT | dispatch2));
  }
  SUBCASE("EV_VANISHED") {
    fd_pair p = fd_pair::of_pipe();
    constexpr unsigned flags = EV_ADD | EV_VANISHED | dispatch2;
    REQUIRE(kq.apply(p[0], EVFILT_READ, flags, 0, 0, 7) == 0);
    p.close(0);
    REQUIRE(kq.apply(3, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
    const event_list got = kq.now();
    CHECK(places_of(got) == places{before, {EVFILT_READ, 7}, after});
    CHECK(got[1].flags == (EV_VANISHED | EV_ONESHOT | dispatch2));
  }
}

TEST_CASE("with room for one event level-triggered knotes come in turn") {
  const test_kqueue kq;
  for (int ident : {1, 2, 3}) REQUIRE(kq.apply(ident, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    for (const unsigned ident : {1u, 2u, 3u}) {
      CAPTURE(ident);
      CHECK(places_of(kq.now(1)) == places{{EVFILT_USER, ident}});
    }
  }
}

TEST_CASE("a level-triggered knote that was delivered comes after those that became active later") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  REQUIRE(kq.apply(2, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
  CHECK(places_of(kq.now(1)) == places{{EVFILT_USER, 1}});
  REQUIRE(kq.apply(3, EVFILT_TIMER, EV_ADD, 0, 0) == 0);
  CHECK(places_of(kq.now()) == places{{EVFILT_USER, 2}, {EVFILT_USER, 1}, {EVFILT_TIMER, 3}});
  CHECK(places_of(kq.now()) == places{{EVFILT_USER, 1}});
}

TEST_CASE("with room for one event a ready descriptor and a user event come in turn") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_pipe();
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD, 0, 0, 2) == 0);
  p.put(1, "x");
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    CHECK(places_of(kq.now(1)) == places{{EVFILT_USER, 1}});
    CHECK(places_of(kq.now(1)) == places{{EVFILT_READ, 2}});
  }
}

TEST_CASE("a descriptor that became ready after a user event comes after it") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_pipe();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD, 0, 0, 2) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  const place user{EVFILT_USER, 1}, file{EVFILT_READ, 2};
  SUBCASE("the user event first") {
    REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
    p.put(1, "x");
    CHECK(places_of(kq.now()) == places{user, file});
  }
  SUBCASE("the descriptor first") {
    p.put(1, "x");
    REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
    CHECK(places_of(kq.now()) == places{file, user});
  }
}

TEST_CASE("a timer that is due keeps its place when a change sets it again") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, 0, 0) == 0);
  REQUIRE(kq.apply(2, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
  REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD, 0, 0) == 0);
  CHECK(places_of(kq.now()) == places{{EVFILT_TIMER, 1}, {EVFILT_USER, 2}});
}

TEST_CASE("a kqueue is not readable when a disabled knote is activated") {
  const ignored_signal usr1(SIGUSR1);
  const test_kqueue kq;
  SUBCASE("a signal") {
    REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_DISABLE) == 0);
    send(SIGUSR1);
    CHECK(!is_readable(kq));
    REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ENABLE) == 0);
    CHECK(is_readable(kq));
    CHECK(only(kq.now(), EVFILT_SIGNAL).data == 1);
  }
  SUBCASE("a signal, after EV_DISPATCH") {
    REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_DISPATCH) == 0);
    send(SIGUSR1);
    REQUIRE(kq.now().size() == 1);
    send(SIGUSR1);
    send(SIGUSR1);
    CHECK(!is_readable(kq));
    REQUIRE(kq.apply(SIGUSR1, EVFILT_SIGNAL, EV_ENABLE) == 0);
    CHECK(only(kq.now(), EVFILT_SIGNAL).data == 2);
  }
  SUBCASE("a timer") {
    const test_kqueue other;
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_DISABLE, NOTE_USECONDS, 100) == 0);
    REQUIRE(other.apply(1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 200) == 0);
    REQUIRE(other.next().size() == 1);
    CHECK(!is_readable(kq));
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ENABLE, NOTE_USECONDS, 100) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("a timer, after EV_DISPATCH") {
    const test_kqueue other;
    REQUIRE(kq.apply(1, EVFILT_TIMER, EV_ADD | EV_DISPATCH, NOTE_USECONDS, 100) == 0);
    REQUIRE(kq.next().size() == 1);
    REQUIRE(other.apply(1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 200) == 0);
    REQUIRE(other.next().size() == 1);
    CHECK(!is_readable(kq));
  }
}

TEST_CASE("a kqueue is not readable when its user events were taken one by one") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
  REQUIRE(kq.apply(2, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
  CHECK(places_of(kq.now(1)) == places{{EVFILT_USER, 1}});
  CHECK(is_readable(kq));
  CHECK(places_of(kq.now(1)) == places{{EVFILT_USER, 2}});
  CHECK(!is_readable(kq));
}
