// kevent() and kevent64(): their arguments, the order of records, time-outs, and how a change finds
// its knote.

#include "test_kqueue.h"

#include <limits>

namespace {

constexpr timespec zero{0, 0};

}  // namespace

TEST_CASE("kqueue() sets close-on-exec") {
  const test_kqueue kq;
  CHECK((fcntl(kq.fd(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("kevent and kevent64 fail with EBADF for an fd that is not a kqueue") {
  kevent64_s wide{};
  struct kevent narrow{};
  CHECK(kevent64(-1, nullptr, 0, &wide, 1, 0, &zero) == -1);
  CHECK(errno == EBADF);
  CHECK(kevent(-1, nullptr, 0, &narrow, 1, &zero) == -1);
  CHECK(errno == EBADF);
  CHECK(kevent64(1 << 30, nullptr, 0, &wide, 1, 0, &zero) == -1);
  CHECK(errno == EBADF);

  const fd_pair pipe = fd_pair::of_pipe();
  CHECK(kevent64(pipe[0], nullptr, 0, &wide, 1, 0, &zero) == -1);
  CHECK(errno == EBADF);
}

TEST_CASE("a closed kqueue fails with EBADF, and the next file with its fd inherits nothing") {
  test_kqueue kq;
  const int fd = kq.fd();
  const fd_pair pipe = fd_pair::of_pipe();
  pipe.put(1, "x");
  REQUIRE(kq.apply(pipe[0], EVFILT_READ, EV_ADD) == 0);
  kq.close();

  SUBCASE("nothing has the fd") {
    const kevent64_s add = change(pipe[0], EVFILT_READ, EV_ADD);
    kevent64_s out{};
    CHECK(kevent64(fd, &add, 1, nullptr, 0, 0, nullptr) == -1);
    CHECK(errno == EBADF);
    CHECK(kevent64(fd, nullptr, 0, &out, 1, 0, &zero) == -1);
    CHECK(errno == EBADF);
  }
  SUBCASE("another file has the fd") {
    const int file = ::dup(pipe[0]);
    REQUIRE(file == fd);
    const kevent64_s add = change(pipe[0], EVFILT_WRITE, EV_ADD);
    kevent64_s out{};
    CHECK(kevent64(fd, nullptr, 0, &out, 1, 0, &zero) == -1);
    CHECK(errno == EBADF);
    CHECK(kevent64(fd, &add, 1, nullptr, 0, 0, nullptr) == -1);
    CHECK(errno == EBADF);
    ::close(file);
  }
  SUBCASE("a new kqueue has the fd") {
    const test_kqueue next;
    REQUIRE(next.fd() == fd);
    CHECK(next.now().empty());
    CHECK(next.apply(pipe[0], EVFILT_READ, EV_DELETE) == ENOENT);
    CHECK(next.apply(pipe[0], EVFILT_READ, EV_ADD) == 0);
    CHECK(next.now().size() == 1);
  }
}

TEST_CASE("kevent64 heeds its time-out, and refuses a bad one with EINVAL") {
  const test_kqueue kq;
  kevent64_s out{};
  const auto wait = [&](timespec t) { return kevent64(kq.fd(), nullptr, 0, &out, 1, 0, &t); };

  SUBCASE("a time-out of zero to two milliseconds passes without an event") {
    CHECK(wait({0, 0}) == 0);
    CHECK(wait({0, 1}) == 0);
    CHECK(wait({0, 300'000}) == 0);
    CHECK(wait({0, 2'000'000}) == 0);
  }
  SUBCASE("the longest time-out, a whole second of nanoseconds and none at all are accepted") {
    REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
    CHECK(wait({std::numeric_limits<std::int32_t>::max(), 0}) == 1);
    CHECK(wait({0, 1'000'000'000}) == 1);
    CHECK(kevent64(kq.fd(), nullptr, 0, &out, 1, 0, nullptr) == 1);
  }
  SUBCASE("negative and too large values fail with EINVAL") {
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
  SUBCASE("a bad time-out is refused before a bad kqueue") {
    const timespec negative{-1, 0};
    CHECK(kevent64(-1, nullptr, 0, &out, 1, 0, &negative) == -1);
    CHECK(errno == EINVAL);
  }
  SUBCASE("KEVENT_FLAG_IMMEDIATE ignores the time-out") {
    const timespec negative{-1, 0};
    CHECK(kevent64(kq.fd(), nullptr, 0, &out, 1, KEVENT_FLAG_IMMEDIATE, &negative) == 0);
    CHECK(kevent64(kq.fd(), nullptr, 0, &out, 1, KEVENT_FLAG_IMMEDIATE, nullptr) == 0);
  }
  SUBCASE("a call without room for events does not wait") {
    CHECK(kevent64(kq.fd(), nullptr, 0, nullptr, 0, 0, nullptr) == 0);
    CHECK(kevent64(kq.fd(), nullptr, 0, &out, -1, 0, nullptr) == 0);
  }
}

TEST_CASE("a kqueue that was used by kevent refuses kevent64, and the other way round") {
  struct kevent narrow{};
  kevent64_s wide{};
  SUBCASE("kevent first") {
    const test_kqueue kq;
    REQUIRE(kevent(kq.fd(), nullptr, 0, &narrow, 1, &zero) == 0);
    CHECK(kevent64(kq.fd(), nullptr, 0, &wide, 1, 0, &zero) == -1);
    CHECK(errno == EINVAL);
    CHECK(kevent(kq.fd(), nullptr, 0, &narrow, 1, &zero) == 0);
  }
  SUBCASE("kevent64 first") {
    const test_kqueue kq;
    REQUIRE(kevent64(kq.fd(), nullptr, 0, &wide, 1, 0, &zero) == 0);
    CHECK(kevent(kq.fd(), nullptr, 0, &narrow, 1, &zero) == -1);
    CHECK(errno == EINVAL);
  }
}

TEST_CASE("kevent returns every field that it was given") {
  const test_kqueue kq;
  int here = 0;
  struct kevent in{};
  EV_SET(&in, 77, EVFILT_USER, EV_ADD | EV_CLEAR, 5, -9, &here);
  REQUIRE(kevent(kq.fd(), &in, 1, nullptr, 0, nullptr) == 0);
  EV_SET(&in, 77, EVFILT_USER, 0, NOTE_TRIGGER, -9, &here);
  struct kevent out{};
  REQUIRE(kevent(kq.fd(), &in, 1, &out, 1, nullptr) == 1);
  const kevent64_s got = event(out.ident, out.filter, out.flags, out.fflags, out.data);
  CHECK(got == event(77, EVFILT_USER, EV_ADD | EV_CLEAR, 5, -9));
  CHECK(out.udata == &here);
}

TEST_CASE("a failed change becomes a record, or the error of the call if there is no room") {
  const test_kqueue kq;
  const kevent64_s bad = change(7, EVFILT_USER, EV_ENABLE, 3, 4, 5);
  kevent64_s out[2]{};
  SUBCASE("with room it becomes a record") {
    REQUIRE(kevent64(kq.fd(), &bad, 1, out, 2, 0, nullptr) == 1);
    CHECK(out[0] == event(7, EVFILT_USER, EV_ENABLE | EV_ERROR, 3, ENOENT, 5));
  }
  SUBCASE("without room it becomes errno") {
    CHECK(kevent64(kq.fd(), &bad, 1, nullptr, 0, 0, nullptr) == -1);
    CHECK(errno == ENOENT);
  }
  SUBCASE("after records have filled the room it becomes errno, and later changes are skipped") {
    const kevent64_s list[] = {change(1, EVFILT_USER, EV_ADD | EV_RECEIPT), bad,
                               change(2, EVFILT_USER, EV_ADD)};
    CHECK(kevent64(kq.fd(), list, 3, out, 1, 0, nullptr) == -1);
    CHECK(errno == ENOENT);
    CHECK(kq.apply(1, EVFILT_USER, EV_DELETE) == 0);
    CHECK(kq.apply(2, EVFILT_USER, EV_DELETE) == ENOENT);
  }
  SUBCASE("the changes before and after it are made") {
    const kevent64_s list[] = {change(1, EVFILT_USER, EV_ADD), bad, change(2, EVFILT_USER, EV_ADD)};
    CHECK(kevent64(kq.fd(), list, 3, out, 2, 0, nullptr) == 1);
    CHECK(kq.apply(1, EVFILT_USER, EV_DELETE) == 0);
    CHECK(kq.apply(2, EVFILT_USER, EV_DELETE) == 0);
  }
}

TEST_CASE("a record keeps EV_VANISHED only if the change would have added a closed fd") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_pipe();
  fd_pair closed = fd_pair::of_pipe();
  const int fd = closed[0];
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD) == 0);
  closed.close(0);
  constexpr unsigned flags = EV_ADD | EV_DISPATCH2 | EV_VANISHED | EV_RECEIPT;
  const kevent64_s changes[] = {
      change(fd, EVFILT_READ, flags), change(1'000'000, EVFILT_READ, flags),
      change(p[0], EVFILT_EXCEPT, flags), change(p[0], EVFILT_READ, flags)};
  kevent64_s got[4];
  REQUIRE(kevent64(kq.fd(), changes, 4, got, 4, 0, nullptr) == 4);
  const std::int64_t errors[] = {EBADF, EBADF, EINVAL, 0};
  for (int i = 0; i < 4; ++i) {
    CAPTURE(changes[i]);
    CHECK(got[i].data == errors[i]);
    CHECK(((got[i].flags & EV_VANISHED) != 0) == (errors[i] == EBADF));
  }
}

TEST_CASE("a record of EV_ADD with a filter without code shows no EV_VANISHED") {
  const test_kqueue kq;
  constexpr unsigned flags = EV_ADD | EV_DISPATCH2;
  kevent64_s record = change(1, EVFILT_AIO, flags | EV_VANISHED);
  REQUIRE(kevent64(kq.fd(), &record, 1, &record, 1, 0, nullptr) == 1);
  CHECK(record == event(1, EVFILT_AIO, flags | EV_ERROR, 0, ENOTSUP));
}

TEST_CASE("records come in the order of the changes and suppress events") {
  const test_kqueue kq;
  REQUIRE(kq.apply(9, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  const kevent64_s list[] = {change(1, EVFILT_USER, EV_ADD | EV_RECEIPT),
                             change(2, EVFILT_USER, EV_DELETE), change(3, EVFILT_USER, EV_ADD),
                             change(4, EVFILT_USER, EV_ADD | EV_RECEIPT)};
  kevent64_s out[8]{};
  REQUIRE(kevent64(kq.fd(), list, 4, out, 8, 0, nullptr) == 3);
  CHECK(out[0] == event(1, EVFILT_USER, EV_ADD | EV_RECEIPT | EV_ERROR));
  CHECK(out[1] == event(2, EVFILT_USER, EV_DELETE | EV_ERROR, 0, ENOENT));
  CHECK(out[2] == event(4, EVFILT_USER, EV_ADD | EV_RECEIPT | EV_ERROR));
  CHECK(kq.now().size() == 1);
}

TEST_CASE("kevent64 reads changes from the array that it writes events to") {
  const test_kqueue kq;
  kevent64_s both[2] = {change(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER),
                        change(2, EVFILT_USER, EV_ADD, NOTE_TRIGGER)};
  REQUIRE(kevent64(kq.fd(), both, 2, both, 2, 0, nullptr) == 2);
  CHECK(both[0] == event(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER));
  CHECK(both[1] == event(2, EVFILT_USER, EV_ADD, NOTE_TRIGGER));
}

TEST_CASE("KEVENT_FLAG_ERROR_EVENTS registers and collects nothing") {
  const test_kqueue kq;
  const kevent64_s list[] = {change(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER),
                             change(2, EVFILT_USER, EV_DELETE)};
  kevent64_s out[4]{};
  CHECK(kevent64(kq.fd(), list, 1, out, 4, KEVENT_FLAG_ERROR_EVENTS, nullptr) == 0);
  REQUIRE(kevent64(kq.fd(), list, 2, out, 4, KEVENT_FLAG_ERROR_EVENTS, nullptr) == 1);
  CHECK(out[0] == event(2, EVFILT_USER, EV_DELETE | EV_ERROR, 0, ENOENT));
  CHECK(kq.now().size() == 1);
}

TEST_CASE(
    "EV_ADD refuses unknown filters (EINVAL) and those of Darwin that are missing here (ENOTSUP)") {
  const test_kqueue kq;
  const fd_pair pipe = fd_pair::of_pipe();
  CHECK(kq.apply(1, 0, EV_ADD) == EINVAL);
  CHECK(kq.apply(1, 5, EV_ADD) == EINVAL);
  CHECK(kq.apply(1, -19, EV_ADD) == EINVAL);
  CHECK(kq.apply(1, std::numeric_limits<std::int16_t>::min(), EV_ADD) == EINVAL);
  CHECK(kq.apply(1, EVFILT_AIO, EV_ADD) == ENOTSUP);
  CHECK(kq.apply(1, EVFILT_VM, EV_ADD) == ENOTSUP);
  CHECK(kq.apply(1, EVFILT_AIO, EV_DELETE) == ENOENT);
  // In no public header. xnu-11417 has it, xnu-10063 and older ones do not.
  constexpr std::int16_t newest_filter = -18;
  CHECK(kq.apply(1, newest_filter, EV_ADD) == ENOTSUP);
  CHECK(kq.apply(1, newest_filter, EV_ENABLE) == ENOENT);
  CHECK(kq.apply(1'000'000, EVFILT_VNODE, EV_ADD, NOTE_WRITE) == EBADF);
}

TEST_CASE("kevent64 refuses a null list of changes (EFAULT), but a bad kqueue first (EBADF)") {
  const test_kqueue kq;
  CHECK(kevent64(kq.fd(), nullptr, 1, nullptr, 0, 0, nullptr) == -1);
  CHECK(errno == EFAULT);
  CHECK(kevent64(-1, nullptr, 1, nullptr, 0, 0, nullptr) == -1);
  CHECK(errno == EBADF);
}

TEST_CASE("kevent64 fails with EFAULT when it has a first event for a null list") {
  const test_kqueue kq;
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

TEST_CASE(
    "kevent64 refuses the flags of other kinds of kqueues (EINVAL), and ignores unknown flags") {
  const test_kqueue kq;
  kevent64_s out{};
  for (const unsigned flag : {0x400u, 0x20000u, 0x40000u}) {
    CAPTURE(flag);
    CHECK(kevent64(kq.fd(), nullptr, 0, &out, 1, flag, &zero) == -1);
    CHECK(errno == EINVAL);
  }
  CHECK(kevent64(kq.fd(), nullptr, 0, &out, 1, 0x4u | 0x80000000u, &zero) == 0);
}

TEST_CASE("a change without EV_ADD fails with ENOENT if there is no knote") {
  const test_kqueue kq;
  for (const unsigned flags : {0u, unsigned{EV_DELETE}, unsigned{EV_ENABLE}, unsigned{EV_DISABLE},
                               unsigned{EV_ADD | EV_DELETE}}) {
    CAPTURE(flags);
    CHECK(kq.apply(1, EVFILT_USER, flags) == ENOENT);
    CHECK(kq.apply(1, EVFILT_TIMER, flags, 0, 1000) == ENOENT);
    CHECK(kq.apply(kq.fd(), EVFILT_READ, flags) == ENOENT);
  }
}

TEST_CASE("EV_DELETE overrules EV_ADD, and EV_DISABLE overrules EV_ENABLE") {
  const test_kqueue kq;
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

TEST_CASE("a second EV_ADD changes udata, but neither the modes nor a disabled state") {
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, 10) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR | EV_ONESHOT | EV_DISPATCH, 0, 0, 11) == 0);
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    CHECK(kq.now() == event_list{event(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, 11)});
  }
  REQUIRE(kq.apply(1, EVFILT_USER, EV_DISABLE) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD) == 0);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE, 0, 0, 12) == 0);
  REQUIRE(kq.now().size() == 1);
  CHECK(kq.now()[0].udata == 12);
}

TEST_CASE("EV_UDATA_SPECIFIC makes udata part of the key of a knote") {
  const test_kqueue kq;
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

TEST_CASE("EV_DELETE of a disabled EV_DISPATCH2 knote is deferred until EV_ENABLE, then reported") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  p.put(1, "a");
  const auto check = [&](std::uint64_t ident, std::int16_t filter, std::uint32_t fflags) {
    const auto apply = [&](unsigned flags) { return kq.apply(ident, filter, flags, 0, 0, 5); };
    REQUIRE(kq.apply(ident, filter, EV_ADD | EV_DISPATCH2, fflags, 0, 5) == 0);
    CHECK(only(kq.now(), filter).flags == (EV_ADD | EV_DISPATCH2));
    CHECK(apply(EV_DELETE | EV_UDATA_SPECIFIC) == EINPROGRESS);
    CHECK(kq.now().empty());
    CHECK(apply(EV_ENABLE | EV_UDATA_SPECIFIC) == 0);
    constexpr unsigned end = EV_DISPATCH2 | EV_ONESHOT | EV_DELETE;
    CHECK(kq.now() == event_list{event(ident, filter, end, 0, 0, 5)});
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
  SUBCASE("of a user event") {
    check(1, EVFILT_USER, NOTE_TRIGGER);
  }
  SUBCASE("of an fd") {
    check(static_cast<std::uint64_t>(p[0]), EVFILT_READ, 0);
  }
}

TEST_CASE("EV_VANISHED is refused with EINVAL unless EV_ADD and EV_DISPATCH2 are set") {
  const test_kqueue kq;
  CHECK(kq.apply(1, EVFILT_USER, EV_ADD | EV_VANISHED) == EINVAL);
  CHECK(kq.apply(1, EVFILT_USER, EV_ADD | EV_DISPATCH | EV_VANISHED) == EINVAL);
  CHECK(kq.apply(1, EVFILT_USER, EV_DELETE | EV_DISPATCH2 | EV_VANISHED) == EINVAL);
}

TEST_CASE("201 ready knotes: none is delivered twice in a call, and each gets its turn") {
  const test_kqueue kq;
  const fd_pair pipe = fd_pair::of_pipe();
  for (std::uint64_t i = 0; i < 200; ++i) {
    CAPTURE(i);
    REQUIRE(kq.apply(i, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  }
  REQUIRE(kq.apply(pipe[1], EVFILT_WRITE, EV_ADD) == 0);

  SUBCASE("with room for all, one call delivers each once") {
    std::vector<int> seen(200);
    for (const kevent64_s& e : kq.now(400)) {
      if (e.filter == EVFILT_USER) ++seen[e.ident];
    }
    CHECK(seen == std::vector<int>(200, 1));
  }
  SUBCASE("with room for one, 1000 calls deliver each at least once") {
    int written = 0;
    std::vector<int> seen(200);
    for (int i = 0; i < 1000; ++i) {
      CAPTURE(i);
      const event_list got = kq.now(1);
      REQUIRE(got.size() == 1);
      got[0].filter == EVFILT_USER ? ++seen[got[0].ident] : ++written;
    }
    CHECK(written >= 1);
    for (std::size_t i = 0; i < seen.size(); ++i) {
      CAPTURE(i);
      CHECK(seen[i] >= 1);
    }
  }
}
