// EV_* flags: how a knote lives, and what a change of one that is there does.

#include "kqueue_of_test.h"

#include <initializer_list>

namespace {

// A knote that has something to report whenever it is asked: of a user event, or of a descriptor.
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
  // The flags of its event, 0 for none.
  unsigned event() const {
    const event_list got = kq_.now();
    return got.empty() ? 0 : only(got, filter_).flags;
  }
  const kqueue_of_test& kq() const { return kq_; }

 private:
  const kqueue_of_test kq_;
  const pair_of_test pair_ = pair_of_test::of_sockets();
  const std::int16_t filter_;
  const std::uint64_t ident_;
  const std::uint32_t trigger_;
};

// Each rule for a knote that the kqueue itself activates and for one that a descriptor does.
template <class Rule>
void for_each_kind(Rule rule) {
  for (const std::int16_t filter :
       std::initializer_list<std::int16_t>{EVFILT_USER, EVFILT_READ, EVFILT_WRITE}) {
    CAPTURE(filter);
    rule(ready_knote(filter));
  }
}

constexpr unsigned last_event = EV_DISPATCH2 | EV_ONESHOT | EV_DELETE;
constexpr unsigned mine = EV_UDATA_SPECIFIC;

}  // namespace

TEST_CASE("without a mode it is reported as long as it is ready") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD) == 0);
    for (int i = 0; i < 3; ++i) CHECK(k.event() == EV_ADD);
    REQUIRE(k.apply(EV_DELETE) == 0);
    CHECK(k.event() == 0);
  });
}

TEST_CASE("EV_CLEAR: reported once") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_CLEAR) == 0);
    CHECK(k.event() == (EV_ADD | EV_CLEAR));
    CHECK(k.event() == 0);
    CHECK(k.apply(EV_DELETE) == 0);
  });
}

TEST_CASE("EV_ONESHOT: gone when it is reported") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_ONESHOT) == 0);
    CHECK(k.event() == (EV_ADD | EV_ONESHOT));
    CHECK(k.event() == 0);
    CHECK(k.apply(EV_ENABLE) == ENOENT);
    CHECK(k.apply(EV_DELETE) == ENOENT);
    REQUIRE(k.apply(EV_ADD) == 0);
    CHECK(k.event() == EV_ADD);
  });
}

TEST_CASE("EV_DISPATCH: disabled when it is reported, until EV_ENABLE; EV_ADD is not enough") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH) == 0);
    for (int i = 0; i < 3; ++i) {
      CHECK(k.event() == (EV_ADD | EV_DISPATCH));
      CHECK(k.event() == 0);
      REQUIRE(k.apply(EV_ADD) == 0);
      CHECK(k.event() == 0);
      REQUIRE(k.apply(EV_ENABLE) == 0);
    }
    CHECK(k.apply(EV_DELETE) == 0);
    CHECK(k.event() == 0);
  });
}

TEST_CASE("EV_DISPATCH with EV_ONESHOT: gone") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH | EV_ONESHOT) == 0);
    CHECK(k.event() == (EV_ADD | EV_DISPATCH | EV_ONESHOT));
    CHECK(k.apply(EV_ENABLE) == ENOENT);
  });
}

TEST_CASE("EV_DISABLE holds back what is there until EV_ENABLE, which finds it") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISABLE) == 0);
    CHECK(k.event() == 0);
    REQUIRE(k.apply(EV_ENABLE) == 0);
    CHECK(k.event() == (EV_ADD | EV_DISABLE));
    REQUIRE(k.apply(EV_DISABLE) == 0);
    REQUIRE(k.apply(EV_DISABLE) == 0);
    CHECK(k.event() == 0);
    REQUIRE(k.apply(EV_ADD | EV_ENABLE) == 0);
    CHECK(k.event() == (EV_ADD | EV_DISABLE));
    REQUIRE(k.apply(EV_DISABLE) == 0);
    CHECK(k.apply(EV_DELETE) == 0);
    CHECK(k.apply(EV_ENABLE) == ENOENT);
  });
}

TEST_CASE("EV_DISABLE takes back what was active and not yet taken") {
  const kqueue_of_test kq;
  for (std::uint64_t i = 0; i < 3; ++i) {
    REQUIRE(kq.apply(i, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
  }
  REQUIRE(kq.apply(1, EVFILT_USER, EV_DISABLE) == 0);
  CHECK(kq.now().size() == 2);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ENABLE) == 0);
  CHECK(only(kq.now(), EVFILT_USER).ident == 1);
}

TEST_CASE("events repeat the flags of the first EV_ADD, those without a meaning too") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_ENABLE | 0x0800) == 0);
    CHECK(k.event() == (EV_ADD | EV_ENABLE | 0x0800));
    REQUIRE(k.apply(EV_ADD | EV_CLEAR) == 0);
    CHECK(k.event() == (EV_ADD | EV_ENABLE | 0x0800));
  });
}

TEST_CASE("the system's flags in a change are not looked at") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_ERROR | EV_EOF | EV_FLAG0 | EV_FLAG1) == 0);
    CHECK(k.event() == EV_ADD);
    CHECK(k.apply(EV_DELETE | EV_ERROR | EV_EOF) == 0);
  });
}

TEST_CASE("EV_RECEIPT: a record of the change, whatever came of it, and no events") {
  const kqueue_of_test kq;
  const auto record_of = [&](unsigned flags) {
    const kevent64_s c = change(1, EVFILT_USER, flags, NOTE_TRIGGER, 0, 7);
    kevent64_s out[2]{};
    REQUIRE(kevent64(kq.fd(), &c, 1, out, 2, 0, nullptr) == 1);
    CHECK(out[0].ident == 1);
    CHECK(out[0].filter == EVFILT_USER);
    CHECK(out[0].udata == 7);
    return out[0];
  };
  SUBCASE("done") {
    const kevent64_s r = record_of(EV_ADD | EV_RECEIPT);
    CHECK(r.flags == (EV_ADD | EV_RECEIPT | EV_ERROR));
    CHECK(r.data == 0);
    CHECK(only(kq.now(), EVFILT_USER).flags == (EV_ADD | EV_RECEIPT));
  }
  SUBCASE("failed") {
    const kevent64_s r = record_of(EV_DELETE | EV_RECEIPT);
    CHECK(r.flags == (EV_DELETE | EV_RECEIPT | EV_ERROR));
    CHECK(r.data == ENOENT);
  }
  SUBCASE("what overrules is shown") {
    CHECK(record_of(EV_ADD | EV_DELETE | EV_RECEIPT).flags == (EV_DELETE | EV_RECEIPT | EV_ERROR));
    CHECK(record_of(EV_ADD | EV_ENABLE | EV_DISABLE | EV_RECEIPT).flags ==
          (EV_ADD | EV_DISABLE | EV_RECEIPT | EV_ERROR));
  }
  SUBCASE("the system's flags are not") {
    CHECK(record_of(EV_ADD | EV_RECEIPT | EV_EOF | EV_FLAG1).flags ==
          (EV_ADD | EV_RECEIPT | EV_ERROR));
  }
  SUBCASE("without room the change is made silently") {
    CHECK(kq.apply(1, EVFILT_USER, EV_ADD | EV_RECEIPT, NOTE_TRIGGER) == 0);
    CHECK(kq.now().size() == 1);
  }
}

TEST_CASE("udata is the last change's; with EV_UDATA_SPECIFIC the key's") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD, 1) == 0);
    REQUIRE(k.apply(EV_ENABLE, 2) == 0);
    CHECK(k.kq().now().at(0).udata == 2);
    REQUIRE(k.apply(EV_DISABLE, 3) == 0);
    REQUIRE(k.apply(EV_ADD | EV_ENABLE, 4) == 0);
    CHECK(k.kq().now().at(0).udata == 4);
    REQUIRE(k.apply(EV_DELETE, 5) == 0);

    REQUIRE(k.apply(EV_ADD | mine, 1) == 0);
    CHECK(k.apply(EV_ENABLE | mine, 2) == ENOENT);
    CHECK(k.apply(EV_DELETE, 1) == ENOENT);
    REQUIRE(k.apply(EV_ADD | mine, 2) == 0);
    REQUIRE(k.apply(EV_ADD, 1) == 0);
    CHECK(k.kq().now().size() == 3);
    CHECK(k.apply(EV_DELETE, 2) == 0);  // the one that is not specific
    CHECK(k.apply(EV_DELETE | mine, 2) == 0);
    CHECK(k.kq().now().size() == 1);
  });
}

TEST_CASE("EV_DISPATCH2, disabled: deleting it is in progress until EV_ENABLE, which has it end") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2) == 0);
    CHECK(k.event() == (EV_ADD | EV_DISPATCH2));
    CHECK(k.apply(EV_DELETE | mine) == EINPROGRESS);
    CHECK(k.apply(EV_DELETE | mine) == EINPROGRESS);
    CHECK(k.event() == 0);
    // It takes no change any more, and is no other's.
    CHECK(k.apply(EV_ADD | mine) == 0);
    CHECK(k.apply(EV_DISABLE | mine) == 0);
    CHECK(k.event() == 0);
    REQUIRE(k.apply(EV_ENABLE | mine) == 0);
    CHECK(k.event() == last_event);
    CHECK(k.apply(EV_ENABLE | mine) == ENOENT);
    CHECK(k.event() == 0);
  });
}

TEST_CASE("EV_DISPATCH2: deleted at once while it is enabled, or with EV_ENABLE") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2) == 0);
    CHECK(k.apply(EV_DELETE | mine) == 0);
    CHECK(k.event() == 0);
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2) == 0);
    CHECK(k.event() != 0);
    CHECK(k.apply(EV_DELETE | EV_ENABLE | mine) == 0);
    CHECK(k.event() == 0);
    // EV_DISABLE overrules that.
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2) == 0);
    CHECK(k.event() != 0);
    CHECK(k.apply(EV_DELETE | EV_ENABLE | EV_DISABLE | mine) == EINPROGRESS);
  });
}

TEST_CASE("EV_DISPATCH2 with EV_ONESHOT: its event is not its end, which EV_ENABLE reports") {
  for_each_kind([](const ready_knote& k) {
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2 | EV_ONESHOT) == 0);
    CHECK(k.event() == (EV_ADD | EV_DISPATCH2 | EV_ONESHOT));
    CHECK(k.event() == 0);
    CHECK(k.apply(EV_DELETE | mine) == EINPROGRESS);
    REQUIRE(k.apply(EV_ENABLE | mine) == 0);
    CHECK(k.event() == last_event);
    CHECK(k.apply(EV_DELETE | mine) == ENOENT);
  });
}

TEST_CASE("the end of a deleted EV_DISPATCH2 knote has nothing of its filter's") {
  const kqueue_of_test kq;
  REQUIRE(kq.apply(9, EVFILT_USER, EV_ADD | EV_DISPATCH2, NOTE_TRIGGER | 5, 6, 7) == 0);
  CHECK(kq.now().size() == 1);
  REQUIRE(kq.apply(9, EVFILT_USER, EV_DELETE | mine, 0, 0, 7) == EINPROGRESS);
  REQUIRE(kq.apply(9, EVFILT_USER, EV_ENABLE | mine, NOTE_FFCOPY | 3, 4, 7) == 0);
  const event_list got = kq.now();
  CHECK(only(got, EVFILT_USER).ident == 9);
  CHECK(only(got, EVFILT_USER).fflags == 0);
  CHECK(only(got, EVFILT_USER).data == 0);
  CHECK(only(got, EVFILT_USER).udata == 7);
}

TEST_CASE("EV_VANISHED is refused where it is not added with EV_DISPATCH2") {
  for_each_kind([](const ready_knote& k) {
    CHECK(k.apply(EV_ADD | EV_VANISHED) == EINVAL);
    CHECK(k.apply(EV_ADD | EV_DISPATCH | EV_VANISHED) == EINVAL);
    CHECK(k.apply(EV_ADD | EV_UDATA_SPECIFIC | EV_VANISHED) == EINVAL);
    CHECK(k.apply(EV_DISPATCH2 | EV_VANISHED) == EINVAL);
    CHECK(k.apply(EV_DELETE | EV_DISPATCH2 | EV_VANISHED) == EINVAL);
    CHECK(k.event() == 0);
    REQUIRE(k.apply(EV_ADD | EV_DISPATCH2 | EV_VANISHED) == 0);
    CHECK(k.event() == (EV_ADD | EV_DISPATCH2));
    // Adding again takes it or leaves it, and changes nothing.
    CHECK(k.apply(EV_ADD | EV_DISPATCH2 | EV_VANISHED | EV_ENABLE) == 0);
    CHECK(k.event() == (EV_ADD | EV_DISPATCH2));
  });
}
