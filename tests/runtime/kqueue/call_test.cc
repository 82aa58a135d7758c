// The calls themselves: arguments, order of records, time-outs, what a change finds and does.

#include "kqueue_of_test.h"

#include <limits>

namespace {

constexpr timespec zero{0, 0};

}  // namespace

TEST_CASE("a kqueue is close-on-exec") {
  const kqueue_of_test kq;
  CHECK((fcntl(kq.fd(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("what is no kqueue gives EBADF") {
  kevent64_s wide{};
  struct kevent narrow{};
  CHECK(kevent64(-1, nullptr, 0, &wide, 1, 0, &zero) == -1);
  CHECK(errno == EBADF);
  CHECK(kevent(-1, nullptr, 0, &narrow, 1, &zero) == -1);
  CHECK(errno == EBADF);
  CHECK(kevent64(1 << 30, nullptr, 0, &wide, 1, 0, &zero) == -1);
  CHECK(errno == EBADF);

  const pair_of_test pipe = pair_of_test::of_pipe();
  CHECK(kevent64(pipe[0], nullptr, 0, &wide, 1, 0, &zero) == -1);
  CHECK(errno == EBADF);
}

TEST_CASE(
    "a closed kqueue gives EBADF, to changes and waits, and leaves nothing to the next file") {
  kqueue_of_test kq;
  const int number = kq.fd();
  const pair_of_test pipe = pair_of_test::of_pipe();
  pipe.put(1, "x");
  REQUIRE(kq.apply(pipe[0], EVFILT_READ, EV_ADD) == 0);
  kq.close();

  SUBCASE("nothing has the number") {
    const kevent64_s add = change(pipe[0], EVFILT_READ, EV_ADD);
    kevent64_s out{};
    CHECK(kevent64(number, &add, 1, nullptr, 0, 0, nullptr) == -1);
    CHECK(errno == EBADF);
    CHECK(kevent64(number, nullptr, 0, &out, 1, 0, &zero) == -1);
    CHECK(errno == EBADF);
  }
  SUBCASE("another file has the number") {
    const int file = ::dup(pipe[0]);
    REQUIRE(file == number);
    const kevent64_s add = change(pipe[0], EVFILT_WRITE, EV_ADD);
    kevent64_s out{};
    CHECK(kevent64(number, nullptr, 0, &out, 1, 0, &zero) == -1);
    CHECK(errno == EBADF);
    CHECK(kevent64(number, &add, 1, nullptr, 0, 0, nullptr) == -1);
    CHECK(errno == EBADF);
    ::close(file);
  }
  SUBCASE("a new kqueue has the number") {
    const kqueue_of_test next;
    REQUIRE(next.fd() == number);
    CHECK(next.now().empty());
    CHECK(next.apply(pipe[0], EVFILT_READ, EV_DELETE) == ENOENT);
    CHECK(next.apply(pipe[0], EVFILT_READ, EV_ADD) == 0);
    CHECK(next.now().size() == 1);
  }
}

TEST_CASE("time-outs") {
  const kqueue_of_test kq;
  kevent64_s out{};
  const auto wait = [&](timespec t) { return kevent64(kq.fd(), nullptr, 0, &out, 1, 0, &t); };

  SUBCASE("zero and short ones run out") {
    CHECK(wait({0, 0}) == 0);
    CHECK(wait({0, 1}) == 0);
    CHECK(wait({0, 300'000}) == 0);
    CHECK(wait({0, 2'000'000}) == 0);
  }
  SUBCASE("the largest are accepted, also a nanosecond count of a whole second") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
    CHECK(wait({std::numeric_limits<std::int32_t>::max(), 0}) == 1);
    CHECK(wait({0, 1'000'000'000}) == 1);
    CHECK(kevent64(kq.fd(), nullptr, 0, &out, 1, 0, nullptr) == 1);
  }
  SUBCASE("EINVAL") {
    CHECK(wait({-1, 0}) == -1);
    CHECK(errno == EINVAL);
    CHECK(wait({0, -1}) == -1);
    CHECK(errno == EINVAL);
    CHECK(wait({0, 1'000'000'001}) == -1);
    CHECK(errno == EINVAL);
    CHECK(wait({std::int64_t{std::numeric_limits<std::int32_t>::max()} + 1, 0}) == -1);
    CHECK(errno == EINVAL);
    struct kevent narrow{};
    const timespec negative{-1, 0};
    CHECK(kevent(kq.fd(), nullptr, 0, &narrow, 1, &negative) == -1);
    CHECK(errno == EINVAL);
  }
  SUBCASE("a bad one is found before a bad kqueue") {
    const timespec negative{-1, 0};
    CHECK(kevent64(-1, nullptr, 0, &out, 1, 0, &negative) == -1);
    CHECK(errno == EINVAL);
  }
  SUBCASE("KEVENT_FLAG_IMMEDIATE does not look at it") {
    const timespec negative{-1, 0};
    CHECK(kevent64(kq.fd(), nullptr, 0, &out, 1, KEVENT_FLAG_IMMEDIATE, &negative) == 0);
    CHECK(kevent64(kq.fd(), nullptr, 0, &out, 1, KEVENT_FLAG_IMMEDIATE, nullptr) == 0);
  }
  SUBCASE("without room for events nobody waits") {
    CHECK(kevent64(kq.fd(), nullptr, 0, nullptr, 0, 0, nullptr) == 0);
    CHECK(kevent64(kq.fd(), nullptr, 0, &out, -1, 0, nullptr) == 0);
  }
}

TEST_CASE("one kqueue takes one of the two calls") {
  struct kevent narrow{};
  kevent64_s wide{};
  SUBCASE("kevent first") {
    const kqueue_of_test kq;
    REQUIRE(kevent(kq.fd(), nullptr, 0, &narrow, 1, &zero) == 0);
    CHECK(kevent64(kq.fd(), nullptr, 0, &wide, 1, 0, &zero) == -1);
    CHECK(errno == EINVAL);
    CHECK(kevent(kq.fd(), nullptr, 0, &narrow, 1, &zero) == 0);
  }
  SUBCASE("kevent64 first") {
    const kqueue_of_test kq;
    REQUIRE(kevent64(kq.fd(), nullptr, 0, &wide, 1, 0, &zero) == 0);
    CHECK(kevent(kq.fd(), nullptr, 0, &narrow, 1, &zero) == -1);
    CHECK(errno == EINVAL);
  }
}

TEST_CASE("kevent carries every field both ways") {
  const kqueue_of_test kq;
  int here = 0;
  struct kevent in{};
  EV_SET(&in, 77, EVFILT_USER, EV_ADD | EV_CLEAR, 5, -9, &here);
  REQUIRE(kevent(kq.fd(), &in, 1, nullptr, 0, nullptr) == 0);
  EV_SET(&in, 77, EVFILT_USER, 0, NOTE_TRIGGER, -9, &here);
  struct kevent out{};
  REQUIRE(kevent(kq.fd(), &in, 1, &out, 1, nullptr) == 1);
  CHECK(out.ident == 77);
  CHECK(out.filter == EVFILT_USER);
  CHECK(out.flags == (EV_ADD | EV_CLEAR));
  CHECK(out.fflags == 5);
  CHECK(out.data == -9);
  CHECK(out.udata == &here);
}

TEST_CASE("a failed change becomes a record, or the call's error without room") {
  const kqueue_of_test kq;
  const kevent64_s bad = change(7, EVFILT_USER, EV_ENABLE, 3, 4, 5);
  kevent64_s out[2]{};
  SUBCASE("record") {
    REQUIRE(kevent64(kq.fd(), &bad, 1, out, 2, 0, nullptr) == 1);
    CHECK(out[0].ident == 7);
    CHECK(out[0].filter == EVFILT_USER);
    CHECK(out[0].flags == (EV_ENABLE | EV_ERROR));
    CHECK(out[0].fflags == 3);
    CHECK(out[0].data == ENOENT);
    CHECK(out[0].udata == 5);
  }
  SUBCASE("error") {
    CHECK(kevent64(kq.fd(), &bad, 1, nullptr, 0, 0, nullptr) == -1);
    CHECK(errno == ENOENT);
  }
  SUBCASE("error after records filled the room; the rest is skipped") {
    const kevent64_s list[] = {change(1, EVFILT_USER, EV_ADD | EV_RECEIPT), bad,
                               change(2, EVFILT_USER, EV_ADD)};
    CHECK(kevent64(kq.fd(), list, 3, out, 1, 0, nullptr) == -1);
    CHECK(errno == ENOENT);
    CHECK(kq.apply(1, EVFILT_USER, EV_DELETE) == 0);
    CHECK(kq.apply(2, EVFILT_USER, EV_DELETE) == ENOENT);
  }
  SUBCASE("those before and after it are made") {
    const kevent64_s list[] = {change(1, EVFILT_USER, EV_ADD), bad, change(2, EVFILT_USER, EV_ADD)};
    CHECK(kevent64(kq.fd(), list, 3, out, 2, 0, nullptr) == 1);
    CHECK(kq.apply(1, EVFILT_USER, EV_DELETE) == 0);
    CHECK(kq.apply(2, EVFILT_USER, EV_DELETE) == 0);
  }
}

TEST_CASE(
    "the record of a change that adds a closed number shows EV_VANISHED, that of others does not") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_pipe();
  pair_of_test closed = pair_of_test::of_pipe();
  const int number = closed[0];
  REQUIRE(kq.apply(number, EVFILT_READ, EV_ADD) == 0);
  closed.close(0);
  constexpr unsigned flags = EV_ADD | EV_DISPATCH2 | EV_VANISHED | EV_RECEIPT;
  const kevent64_s changes[] = {
      change(number, EVFILT_READ, flags), change(1'000'000, EVFILT_READ, flags),
      change(p[0], EVFILT_EXCEPT, flags), change(p[0], EVFILT_READ, flags)};
  kevent64_s got[4];
  REQUIRE(kevent64(kq.fd(), changes, 4, got, 4, 0, nullptr) == 4);
  const std::int64_t errors[] = {EBADF, EBADF, EINVAL, 0};
  for (int i = 0; i < 4; ++i) {
    CHECK(got[i].data == errors[i]);
    CHECK(((got[i].flags & EV_VANISHED) != 0) == (errors[i] == EBADF));
  }
}

TEST_CASE("records come in the order of the changes and suppress events") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(9, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  const kevent64_s list[] = {change(1, EVFILT_USER, EV_ADD | EV_RECEIPT),
                             change(2, EVFILT_USER, EV_DELETE), change(3, EVFILT_USER, EV_ADD),
                             change(4, EVFILT_USER, EV_ADD | EV_RECEIPT)};
  kevent64_s out[8]{};
  REQUIRE(kevent64(kq.fd(), list, 4, out, 8, 0, nullptr) == 3);
  CHECK(out[0].ident == 1);
  CHECK(out[0].flags == (EV_ADD | EV_RECEIPT | EV_ERROR));
  CHECK(out[0].data == 0);
  CHECK(out[1].ident == 2);
  CHECK(out[1].data == ENOENT);
  CHECK(out[2].ident == 4);
  CHECK(out[2].data == 0);
  CHECK(kq.now().size() == 1);
}

TEST_CASE("changes and events may share an array") {
  const kqueue_of_test kq;
  kevent64_s both[2] = {change(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER),
                        change(2, EVFILT_USER, EV_ADD, NOTE_TRIGGER)};
  REQUIRE(kevent64(kq.fd(), both, 2, both, 2, 0, nullptr) == 2);
  CHECK(both[0].ident == 1);
  CHECK(both[1].ident == 2);
}

TEST_CASE("KEVENT_FLAG_ERROR_EVENTS registers and collects nothing") {
  const kqueue_of_test kq;
  const kevent64_s list[] = {change(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER),
                             change(2, EVFILT_USER, EV_DELETE)};
  kevent64_s out[4]{};
  CHECK(kevent64(kq.fd(), list, 1, out, 4, KEVENT_FLAG_ERROR_EVENTS, nullptr) == 0);
  REQUIRE(kevent64(kq.fd(), list, 2, out, 4, KEVENT_FLAG_ERROR_EVENTS, nullptr) == 1);
  CHECK(out[0].ident == 2);
  CHECK(out[0].data == ENOENT);
  CHECK(kq.now().size() == 1);
}

TEST_CASE("filters that are not there") {
  const kqueue_of_test kq;
  const pair_of_test pipe = pair_of_test::of_pipe();
  CHECK(kq.apply(1, 0, EV_ADD) == EINVAL);
  CHECK(kq.apply(1, 5, EV_ADD) == EINVAL);
  CHECK(kq.apply(1, -EVFILT_SYSCOUNT - 1, EV_ADD) == EINVAL);
  CHECK(kq.apply(1, std::numeric_limits<std::int16_t>::min(), EV_ADD) == EINVAL);
  CHECK(kq.apply(1, EVFILT_AIO, EV_ADD) == ENOTSUP);
  CHECK(kq.apply(1, EVFILT_VM, EV_ADD) == ENOTSUP);
  CHECK(kq.apply(1, EVFILT_AIO, EV_DELETE) == ENOENT);
  CHECK(kq.apply(1'000'000, EVFILT_VNODE, EV_ADD, NOTE_WRITE) == EBADF);
}

TEST_CASE("a list of changes that is not there gives EFAULT") {
  const kqueue_of_test kq;
  CHECK(kevent64(kq.fd(), nullptr, 1, nullptr, 0, 0, nullptr) == -1);
  CHECK(errno == EFAULT);
  CHECK(kevent64(-1, nullptr, 1, nullptr, 0, 0, nullptr) == -1);
  CHECK(errno == EBADF);
}

TEST_CASE("a list for events that is not there gives EFAULT with the first record") {
  const kqueue_of_test kq;
  CHECK(kevent64(kq.fd(), nullptr, 0, nullptr, 1, 0, &zero) == 0);
  const kevent64_s bad = change(2, EVFILT_USER, EV_DELETE);
  CHECK(kevent64(kq.fd(), &bad, 1, nullptr, 1, 0, nullptr) == -1);
  CHECK(errno == EFAULT);
  const kevent64_s receipt = change(1, EVFILT_USER, EV_ADD | EV_RECEIPT);
  CHECK(kevent64(kq.fd(), &receipt, 1, nullptr, 4, 0, nullptr) == -1);
  CHECK(errno == EFAULT);
  REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  CHECK(kevent64(kq.fd(), nullptr, 0, nullptr, 4, 0, &zero) == -1);
  CHECK(errno == EFAULT);
}

TEST_CASE("flags of kevent64: those of other kinds of kqueues give EINVAL, the unknown nothing") {
  const kqueue_of_test kq;
  kevent64_s out{};
  for (const unsigned flag : {0x400u, 0x20000u, 0x40000u}) {
    CHECK(kevent64(kq.fd(), nullptr, 0, &out, 1, flag, &zero) == -1);
    CHECK(errno == EINVAL);
  }
  CHECK(kevent64(kq.fd(), nullptr, 0, &out, 1, 0x4u | 0x80000000u, &zero) == 0);
}

TEST_CASE("without EV_ADD a change needs its knote") {
  const kqueue_of_test kq;
  for (const unsigned flags : {0u, unsigned{EV_DELETE}, unsigned{EV_ENABLE}, unsigned{EV_DISABLE},
                               unsigned{EV_ADD | EV_DELETE}}) {
    CHECK(kq.apply(1, EVFILT_USER, flags) == ENOENT);
    CHECK(kq.apply(1, EVFILT_TIMER, flags, 0, 1000) == ENOENT);
    CHECK(kq.apply(kq.fd(), EVFILT_READ, flags) == ENOENT);
  }
}

TEST_CASE("EV_DELETE and EV_DISABLE overrule EV_ADD and EV_ENABLE") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_DISABLE | EV_ENABLE, NOTE_TRIGGER) == 0);
  CHECK(kq.now().empty());
  CHECK(kq.apply(1, EVFILT_USER, EV_ENABLE | EV_DISABLE) == 0);
  CHECK(kq.now().empty());
  CHECK(kq.apply(1, EVFILT_USER, EV_ENABLE) == 0);
  CHECK(kq.now().size() == 1);
  CHECK(kq.apply(1, EVFILT_USER, EV_ADD | EV_DELETE) == 0);
  CHECK(kq.now().empty());
  CHECK(kq.apply(1, EVFILT_USER, EV_DELETE) == ENOENT);
}

TEST_CASE("adding again changes udata, not the modes, and does not enable") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, 10) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR | EV_ONESHOT | EV_DISPATCH, 0, 0, 11) == 0);
  for (int i = 0; i < 2; ++i) {
    const event_list got = kq.now();
    REQUIRE(got.size() == 1);
    CHECK(got[0].udata == 11);
    CHECK(got[0].flags == EV_ADD);
  }
  REQUIRE(kq.apply(1, EVFILT_USER, EV_DISABLE) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE, 0, 0, 12) == 0);
  REQUIRE(kq.now().size() == 1);
  CHECK(kq.now()[0].udata == 12);
}

TEST_CASE("EV_UDATA_SPECIFIC makes udata part of the key") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, 5) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_UDATA_SPECIFIC, NOTE_TRIGGER, 0, 5) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_UDATA_SPECIFIC, NOTE_TRIGGER, 0, 6) == 0);
  CHECK(kq.now().size() == 3);
  CHECK(kq.apply(1, EVFILT_USER, EV_DELETE | EV_UDATA_SPECIFIC, 0, 0, 7) == ENOENT);
  CHECK(kq.apply(1, EVFILT_USER, EV_DELETE | EV_UDATA_SPECIFIC, 0, 0, 6) == 0);
  CHECK(kq.apply(1, EVFILT_USER, EV_DELETE, 0, 0, 99) == 0);
  REQUIRE(kq.now().size() == 1);
  CHECK(kq.now()[0].flags == (EV_ADD | EV_UDATA_SPECIFIC));
}

TEST_CASE("EV_DISPATCH2: deleting while disabled is put off until it is enabled, and reported") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_sockets();
  p.put(1, "a");
  const auto check = [&](std::uint64_t ident, std::int16_t filter, std::uint32_t fflags) {
    const auto apply = [&](unsigned flags) { return kq.apply(ident, filter, flags, 0, 0, 5); };
    REQUIRE(kq.apply(ident, filter, EV_ADD | EV_DISPATCH2, fflags, 0, 5) == 0);
    CHECK(only(kq.now(), filter).flags == (EV_ADD | EV_DISPATCH2));
    CHECK(apply(EV_DELETE | EV_UDATA_SPECIFIC) == EINPROGRESS);
    CHECK(kq.now().empty());
    CHECK(apply(EV_ENABLE | EV_UDATA_SPECIFIC) == 0);
    const event_list got = kq.now();
    CHECK(only(got, filter).flags == (EV_DISPATCH2 | EV_ONESHOT | EV_DELETE));
    CHECK(only(got, filter).udata == 5);
    CHECK(kq.now().empty());
    CHECK(apply(EV_ENABLE | EV_UDATA_SPECIFIC) == ENOENT);

    REQUIRE(kq.apply(ident, filter, EV_ADD | EV_DISPATCH2 | EV_ONESHOT, fflags, 0, 5) == 0);
    CHECK(kq.now().size() == 1);
    CHECK(kq.now().empty());
    CHECK(apply(EV_ENABLE | EV_UDATA_SPECIFIC) == 0);
    CHECK((only(kq.now(), filter).flags & EV_DELETE) != 0);

    REQUIRE(kq.apply(ident, filter, EV_ADD | EV_DISPATCH2, fflags, 0, 5) == 0);
    CHECK(kq.now().size() == 1);
    CHECK(apply(EV_DELETE | EV_ENABLE | EV_UDATA_SPECIFIC) == 0);
    CHECK(kq.now().empty());
  };
  SUBCASE("user event") {
    check(1, EVFILT_USER, NOTE_TRIGGER);
  }
  SUBCASE("descriptor") {
    check(static_cast<std::uint64_t>(p[0]), EVFILT_READ, 0);
  }
}

TEST_CASE("EV_VANISHED goes with adding EV_DISPATCH2 only") {
  const kqueue_of_test kq;
  CHECK(kq.apply(1, EVFILT_USER, EV_ADD | EV_VANISHED) == EINVAL);
  CHECK(kq.apply(1, EVFILT_USER, EV_ADD | EV_DISPATCH | EV_VANISHED) == EINVAL);
  CHECK(kq.apply(1, EVFILT_USER, EV_DELETE | EV_DISPATCH2 | EV_VANISHED) == EINVAL);
}

TEST_CASE("no knote is delivered twice in a call, and all have their turn") {
  const kqueue_of_test kq;
  const pair_of_test pipe = pair_of_test::of_pipe();
  for (std::uint64_t i = 0; i < 200; ++i)
    REQUIRE(kq.apply(i, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  REQUIRE(kq.apply(pipe[1], EVFILT_WRITE, EV_ADD) == 0);

  SUBCASE("with room for all") {
    std::vector<int> seen(200);
    for (const kevent64_s& e : kq.now(400)) {
      if (e.filter == EVFILT_USER) ++seen[e.ident];
    }
    CHECK(seen == std::vector<int>(200, 1));
  }
  SUBCASE("one by one") {
    int written = 0;
    std::vector<int> seen(200);
    for (int i = 0; i < 1000; ++i) {
      const event_list got = kq.now(1);
      REQUIRE(got.size() == 1);
      got[0].filter == EVFILT_USER ? ++seen[got[0].ident] : ++written;
    }
    CHECK(written >= 1);
    for (const int times : seen) CHECK(times >= 1);
  }
}
