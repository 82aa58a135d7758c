// EVFILT_USER: triggers, modes and stored fields.

#include "test_kqueue.h"

TEST_CASE("EVFILT_USER reports a trigger until EV_CLEAR, EV_ONESHOT or EV_DISPATCH takes it back") {
  const test_kqueue kq;
  const auto trigger = [&] { REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0); };

  SUBCASE("level-triggered: every wait reports it until EV_DELETE") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD) == 0);
    CHECK(kq.now().empty());
    trigger();
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().size() == 1);
    REQUIRE(kq.apply(1, EVFILT_USER, EV_DELETE) == 0);
    CHECK(kq.now().empty());
  }
  SUBCASE("EV_CLEAR: two triggers make one event, a later one the next") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
    trigger();
    trigger();
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().empty());
    trigger();
    CHECK(kq.now().size() == 1);
  }
  SUBCASE("EV_ONESHOT: the knote is gone after its event") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_ONESHOT) == 0);
    trigger();
    CHECK(kq.now().size() == 1);
    CHECK(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == ENOENT);
  }
  SUBCASE("EV_DISPATCH: EV_ENABLE brings it back") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_DISPATCH) == 0);
    trigger();
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE) == 0);
    CHECK(kq.now().size() == 1);
  }
  SUBCASE("a trigger of a disabled knote is reported after EV_ENABLE") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_DISABLE | EV_CLEAR) == 0);
    trigger();
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE) == 0);
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().empty());
  }
  SUBCASE("a knote that is added with NOTE_TRIGGER is reported at once") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().empty());
  }
}

TEST_CASE("EV_ADD stores fflags, and NOTE_FFAND, NOTE_FFOR and NOTE_FFCOPY change them") {
  const test_kqueue kq;
  const auto fflags_after = [&](std::uint32_t operation) {
    REQUIRE(kq.apply(1, EVFILT_USER, 0, operation | NOTE_TRIGGER) == 0);
    return only(kq.now(), EVFILT_USER).fflags;
  };
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0x00f0f0) == 0);
  CHECK(fflags_after(NOTE_FFNOP | 0xffffff) == 0x00f0f0);
  CHECK(fflags_after(NOTE_FFAND | 0x00ff00) == 0x00f000);
  CHECK(fflags_after(NOTE_FFOR | 0x00000f) == 0x00f00f);
  CHECK(fflags_after(NOTE_FFCOPY | 0x123456) == 0x123456);
  CHECK(fflags_after(NOTE_FFCOPY) == 0);
}

TEST_CASE("an EVFILT_USER event has data and udata of the last change, and ext of EV_ADD") {
  const test_kqueue kq;
  kevent64_s add = change(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 5, 6);
  add.ext[0] = 7;
  add.ext[1] = 8;
  REQUIRE(kq.apply(add) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER, 15, 16) == 0);
  kevent64_s expected = event(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 15, 16);
  expected.ext[0] = 7;
  expected.ext[1] = 8;
  CHECK(kq.now() == event_list{expected});
}

TEST_CASE("a call that triggers and waits returns the event") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  const kevent64_s trigger = change(1, EVFILT_USER, 0, NOTE_TRIGGER);
  kevent64_s out{};
  CHECK(kevent64(kq.fd(), &trigger, 1, &out, 1, 0, nullptr) == 1);
  CHECK(out == event(1, EVFILT_USER, EV_ADD | EV_CLEAR));
}

TEST_CASE("EVFILT_USER takes any ident, up to all 64 bits") {
  const test_kqueue kq;
  for (const std::uint64_t ident : {std::uint64_t{0}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    CAPTURE(ident);
    REQUIRE(kq.apply(ident, EVFILT_USER, EV_ADD | EV_ONESHOT, NOTE_TRIGGER) == 0);
    CHECK(kq.now() == event_list{event(ident, EVFILT_USER, EV_ADD | EV_ONESHOT, NOTE_TRIGGER)});
  }
}
