// EV_* flags: the life of a knote, and what a change of an existing knote does.

#include "test_kqueue.h"

#include <initializer_list>

namespace {

// A knote that is always ready: a triggered user event, or a readable and writable socket.
class ready_knote {
 public:
  explicit ready_knote(std::int16_t filter)
      : filter_(filter),
        ident_(filter == EVFILT_USER ? 1 : static_cast<std::uint64_t>(pair_[0])),
        trigger_(filter == EVFILT_USER ? NOTE_TRIGGER : 0) {
    pair_.put(1, "x");
  }

  int apply(unsigned flags, std::uint64_t udata = 0) const {
    return kq_.apply(ident_, filter_, flags, (flags & EV_ADD) != 0 ? trigger_ : 0, 0, udata);
  }
  // Takes the event of the knote. Returns its flags, or 0 without an event.
  unsigned take_flags() const {
    const event_list got = kq_.now();
    return got.empty() ? 0 : only(got, filter_).flags;
  }
  const test_kqueue& kq() const { return kq_; }

 private:
  const test_kqueue kq_;
  const fd_pair pair_ = fd_pair::of_sockets();
  const std::int16_t filter_;
  const std::uint64_t ident_;
  const std::uint32_t trigger_;
};

// Checks a rule for a knote that the kqueue itself activates, and for those that an fd activates.
template <class Rule>
void for_each_kind(Rule rule) {
  for (const std::int16_t filter :
       std::initializer_list<std::int16_t>{EVFILT_USER, EVFILT_READ, EVFILT_WRITE}) {
    CAPTURE(filter);
    rule(ready_knote(filter));
  }
}

constexpr unsigned last_event = EV_DISPATCH2 | EV_ONESHOT | EV_DELETE;
constexpr unsigned specific = EV_UDATA_SPECIFIC;

}  // namespace

TEST_CASE("a knote without a mode is reported as long as it is ready") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD) == 0);
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      CHECK(k.take_flags() == EV_ADD);
    }
    REQUIRE(k.apply(EV_DELETE) == 0);
    CHECK(k.take_flags() == 0);
  });
}

TEST_CASE("a knote with EV_CLEAR is reported once") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_CLEAR) == 0);
    CHECK(k.take_flags() == (EV_ADD | EV_CLEAR));
    CHECK(k.take_flags() == 0);
    CHECK(k.apply(EV_DELETE) == 0);
  });
}

TEST_CASE("a knote with EV_ONESHOT is deleted when it is reported") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_ONESHOT) == 0);
    CHECK(k.take_flags() == (EV_ADD | EV_ONESHOT));
    CHECK(k.take_flags() == 0);
    CHECK(k.apply(EV_ENABLE) == ENOENT);
    CHECK(k.apply(EV_DELETE) == ENOENT);
    REQUIRE(k.apply(EV_ADD) == 0);
    CHECK(k.take_flags() == EV_ADD);
  });
}

TEST_CASE("a knote with EV_DISPATCH is disabled when it is reported, until EV_ENABLE, not EV_ADD") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH) == 0);
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      CHECK(k.take_flags() == (EV_ADD | EV_DISPATCH));
      CHECK(k.take_flags() == 0);
      REQUIRE(k.apply(EV_ADD) == 0);
      CHECK(k.take_flags() == 0);
      REQUIRE(k.apply(EV_ENABLE) == 0);
    }
    CHECK(k.apply(EV_DELETE) == 0);
    CHECK(k.take_flags() == 0);
  });
}

TEST_CASE("a knote with EV_DISPATCH and EV_ONESHOT is deleted when it is reported") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH | EV_ONESHOT) == 0);
    CHECK(k.take_flags() == (EV_ADD | EV_DISPATCH | EV_ONESHOT));
    CHECK(k.apply(EV_ENABLE) == ENOENT);
  });
}

TEST_CASE("EV_DISABLE holds back a ready knote until EV_ENABLE") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISABLE) == 0);
    CHECK(k.take_flags() == 0);
    REQUIRE(k.apply(EV_ENABLE) == 0);
    CHECK(k.take_flags() == (EV_ADD | EV_DISABLE));
    REQUIRE(k.apply(EV_DISABLE) == 0);
    REQUIRE(k.apply(EV_DISABLE) == 0);
    CHECK(k.take_flags() == 0);
    REQUIRE(k.apply(EV_ADD | EV_ENABLE) == 0);
    CHECK(k.take_flags() == (EV_ADD | EV_DISABLE));
    REQUIRE(k.apply(EV_DISABLE) == 0);
    CHECK(k.apply(EV_DELETE) == 0);
    CHECK(k.apply(EV_ENABLE) == ENOENT);
  });
}

TEST_CASE("EV_DISABLE holds back an event that was active and not yet taken") {
  const test_kqueue kq;
  for (std::uint64_t i = 0; i < 3; ++i) {
    CAPTURE(i);
    REQUIRE(kq.apply(i, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
  }
  REQUIRE(kq.apply(1, EVFILT_USER, EV_DISABLE) == 0);
  CHECK(kq.now().size() == 2);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE) == 0);
  CHECK(only(kq.now(), EVFILT_USER).ident == 1);
}

TEST_CASE("events repeat the flags of the first EV_ADD, unknown flags too") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_ENABLE | 0x0800) == 0);
    CHECK(k.take_flags() == (EV_ADD | EV_ENABLE | 0x0800));
    REQUIRE(k.apply(EV_ADD | EV_CLEAR) == 0);
    CHECK(k.take_flags() == (EV_ADD | EV_ENABLE | 0x0800));
  });
}

TEST_CASE("a change ignores the system flags EV_ERROR, EV_EOF, EV_FLAG0 and EV_FLAG1") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_ERROR | EV_EOF | EV_FLAG0 | EV_FLAG1) == 0);
    CHECK(k.take_flags() == EV_ADD);
    CHECK(k.apply(EV_DELETE | EV_ERROR | EV_EOF) == 0);
  });
}

TEST_CASE("EV_RECEIPT makes a record of the change, done or failed, and the call takes no events") {
  const test_kqueue kq;
  const auto record_of = [&](unsigned flags) {
    const kevent64_s c = change(1, EVFILT_USER, flags, NOTE_TRIGGER, 0, 7);
    kevent64_s out[2]{};
    REQUIRE(kevent64(kq.fd(), &c, 1, out, 2, 0, nullptr) == 1);
    CHECK(out[0] == event(1, EVFILT_USER, out[0].flags, NOTE_TRIGGER, out[0].data, 7));
    return out[0];
  };
  SUBCASE("a change that is done has data 0") {
    const kevent64_s r = record_of(EV_ADD | EV_RECEIPT);
    CHECK(r.flags == (EV_ADD | EV_RECEIPT | EV_ERROR));
    CHECK(r.data == 0);
    CHECK(only(kq.now(), EVFILT_USER).flags == (EV_ADD | EV_RECEIPT));
  }
  SUBCASE("a change that fails has its errno in data") {
    const kevent64_s r = record_of(EV_DELETE | EV_RECEIPT);
    CHECK(r.flags == (EV_DELETE | EV_RECEIPT | EV_ERROR));
    CHECK(r.data == ENOENT);
  }
  SUBCASE("the record shows only the flag that overruled") {
    CHECK(record_of(EV_ADD | EV_DELETE | EV_RECEIPT).flags == (EV_DELETE | EV_RECEIPT | EV_ERROR));
    CHECK(record_of(EV_ADD | EV_ENABLE | EV_DISABLE | EV_RECEIPT).flags ==
          (EV_ADD | EV_DISABLE | EV_RECEIPT | EV_ERROR));
  }
  SUBCASE("the record drops system flags") {
    CHECK(record_of(EV_ADD | EV_RECEIPT | EV_EOF | EV_FLAG1).flags ==
          (EV_ADD | EV_RECEIPT | EV_ERROR));
  }
  SUBCASE("without room for a record the change is still made") {
    CHECK(kq.apply(1, EVFILT_USER, EV_ADD | EV_RECEIPT, NOTE_TRIGGER) == 0);
    CHECK(kq.now().size() == 1);
  }
}

TEST_CASE("udata is that of the last change, or with EV_UDATA_SPECIFIC that of the key") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD, 1) == 0);
    REQUIRE(k.apply(EV_ENABLE, 2) == 0);
    CHECK(k.kq().now().at(0).udata == 2);
    REQUIRE(k.apply(EV_DISABLE, 3) == 0);
    REQUIRE(k.apply(EV_ADD | EV_ENABLE, 4) == 0);
    CHECK(k.kq().now().at(0).udata == 4);
    REQUIRE(k.apply(EV_DELETE, 5) == 0);

    REQUIRE(k.apply(EV_ADD | specific, 1) == 0);
    CHECK(k.apply(EV_ENABLE | specific, 2) == ENOENT);
    CHECK(k.apply(EV_DELETE, 1) == ENOENT);
    REQUIRE(k.apply(EV_ADD | specific, 2) == 0);
    REQUIRE(k.apply(EV_ADD, 1) == 0);
    CHECK(k.kq().now().size() == 3);
    CHECK(k.apply(EV_DELETE, 2) == 0);  // the one without EV_UDATA_SPECIFIC
    CHECK(k.apply(EV_DELETE | specific, 2) == 0);
    CHECK(k.kq().now().size() == 1);
  });
}

TEST_CASE("EV_DELETE of a disabled EV_DISPATCH2 knote gives EINPROGRESS, and EV_ENABLE ends it") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2) == 0);
    CHECK(k.take_flags() == (EV_ADD | EV_DISPATCH2));
    CHECK(k.apply(EV_DELETE | specific) == EINPROGRESS);
    CHECK(k.apply(EV_DELETE | specific) == EINPROGRESS);
    CHECK(k.take_flags() == 0);
    // The deleted knote ignores all changes but EV_ENABLE, and EV_ADD makes no new one.
    CHECK(k.apply(EV_ADD | specific) == 0);
    CHECK(k.apply(EV_DISABLE | specific) == 0);
    CHECK(k.take_flags() == 0);
    REQUIRE(k.apply(EV_ENABLE | specific) == 0);
    CHECK(k.take_flags() == last_event);
    CHECK(k.apply(EV_ENABLE | specific) == ENOENT);
    CHECK(k.take_flags() == 0);
  });
}

TEST_CASE("EV_DELETE ends an EV_DISPATCH2 knote at once if it is enabled, or with EV_ENABLE") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2) == 0);
    CHECK(k.apply(EV_DELETE | specific) == 0);
    CHECK(k.take_flags() == 0);
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2) == 0);
    CHECK(k.take_flags() != 0);
    CHECK(k.apply(EV_DELETE | EV_ENABLE | specific) == 0);
    CHECK(k.take_flags() == 0);
    // EV_DISABLE overrules EV_ENABLE.
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2) == 0);
    CHECK(k.take_flags() != 0);
    CHECK(k.apply(EV_DELETE | EV_ENABLE | EV_DISABLE | specific) == EINPROGRESS);
  });
}

TEST_CASE("EV_ONESHOT of an EV_DISPATCH2 knote disables it, and EV_ENABLE reports its end") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2 | EV_ONESHOT) == 0);
    CHECK(k.take_flags() == (EV_ADD | EV_DISPATCH2 | EV_ONESHOT));
    CHECK(k.take_flags() == 0);
    CHECK(k.apply(EV_DELETE | specific) == EINPROGRESS);
    REQUIRE(k.apply(EV_ENABLE | specific) == 0);
    CHECK(k.take_flags() == last_event);
    CHECK(k.apply(EV_DELETE | specific) == ENOENT);
  });
}

TEST_CASE("the last event of a deleted EV_DISPATCH2 knote has neither fflags nor data") {
  const test_kqueue kq;
  REQUIRE(kq.apply(9, EVFILT_USER, EV_ADD | EV_DISPATCH2, NOTE_TRIGGER | 5, 6, 7) == 0);
  CHECK(kq.now().size() == 1);
  REQUIRE(kq.apply(9, EVFILT_USER, EV_DELETE | specific, 0, 0, 7) == EINPROGRESS);
  REQUIRE(kq.apply(9, EVFILT_USER, EV_ENABLE | specific, NOTE_FFCOPY | 3, 4, 7) == 0);
  CHECK(kq.now() == event_list{event(9, EVFILT_USER, last_event, 0, 0, 7)});
}

TEST_CASE("EV_VANISHED is refused with EINVAL except with EV_ADD and EV_DISPATCH2") {
  for_each_kind([](const ready_knote& k) {
    CHECK(k.apply(EV_ADD | EV_VANISHED) == EINVAL);
    CHECK(k.apply(EV_ADD | EV_DISPATCH | EV_VANISHED) == EINVAL);
    CHECK(k.apply(EV_ADD | EV_UDATA_SPECIFIC | EV_VANISHED) == EINVAL);
    CHECK(k.apply(EV_DISPATCH2 | EV_VANISHED) == EINVAL);
    CHECK(k.apply(EV_DELETE | EV_DISPATCH2 | EV_VANISHED) == EINVAL);
    CHECK(k.take_flags() == 0);
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2 | EV_VANISHED) == 0);
    CHECK(k.take_flags() == (EV_ADD | EV_DISPATCH2));
    // A second EV_ADD may repeat EV_VANISHED, without effect.
    CHECK(k.apply(EV_ADD | EV_DISPATCH2 | EV_VANISHED | EV_ENABLE) == 0);
    CHECK(k.take_flags() == (EV_ADD | EV_DISPATCH2));
  });
}
