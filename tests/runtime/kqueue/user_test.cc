// EVFILT_USER.

#include "kqueue_of_test.h"

TEST_CASE("a trigger is reported until EV_CLEAR, ONESHOT or DISPATCH takes it") {
  const kqueue_of_test kq;
  const auto trigger = [&] { REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0); };

  SUBCASE("level") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD) == 0);
    CHECK(kq.now().empty());
    trigger();
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().size() == 1);
    REQUIRE(kq.apply(1, EVFILT_USER, EV_DELETE) == 0);
    CHECK(kq.now().empty());
  }
  SUBCASE("CLEAR") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
    trigger();
    trigger();
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().empty());
    trigger();
    CHECK(kq.now().size() == 1);
  }
  SUBCASE("ONESHOT") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_ONESHOT) == 0);
    trigger();
    CHECK(kq.now().size() == 1);
    CHECK(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == ENOENT);
  }
  SUBCASE("DISPATCH") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_DISPATCH) == 0);
    trigger();
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE) == 0);
    CHECK(kq.now().size() == 1);
  }
  SUBCASE("triggered while disabled") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_DISABLE | EV_CLEAR) == 0);
    trigger();
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE) == 0);
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().empty());
  }
  SUBCASE("added triggered") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().empty());
  }
}

TEST_CASE("fflags: what adding stores and what a change does to it") {
  const kqueue_of_test kq;
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

TEST_CASE("data and udata are those of the last change; ext that of the adding one") {
  const kqueue_of_test kq;
  kevent64_s add = change(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 5, 6);
  add.ext[0] = 7;
  add.ext[1] = 8;
  REQUIRE(kq.apply(add) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER, 15, 16) == 0);
  const event_list got = kq.now();
  REQUIRE(got.size() == 1);
  CHECK(got[0].data == 15);
  CHECK(got[0].udata == 16);
  CHECK(got[0].ext[0] == 7);
  CHECK(got[0].ext[1] == 8);
}

TEST_CASE("a trigger may come with the wait") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  const kevent64_s trigger = change(1, EVFILT_USER, 0, NOTE_TRIGGER);
  kevent64_s out{};
  CHECK(kevent64(kq.fd(), &trigger, 1, &out, 1, 0, nullptr) == 1);
  CHECK(out.ident == 1);
}

TEST_CASE("any ident will do") {
  const kqueue_of_test kq;
  for (const std::uint64_t ident : {std::uint64_t{0}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    REQUIRE(kq.apply(ident, EVFILT_USER, EV_ADD | EV_ONESHOT, NOTE_TRIGGER) == 0);
    const event_list got = kq.now();
    REQUIRE(got.size() == 1);
    CHECK(got[0].ident == ident);
  }
}
