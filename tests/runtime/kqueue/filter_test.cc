// The contract of filters (kedge/runtime/kqueue/filter.h), by a filter that this test registers. It
// watches "wells": counters that threads fill, and that a knote drains by one with each event.

#include "test_kqueue.h"

#include "kedge/runtime/kqueue/extension.h"
#include "kedge/runtime/kqueue/filter.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <thread>

namespace {

using kedge::kqueue::delivery;
using kedge::kqueue::knote;
using kedge::kqueue::verdict;

constexpr std::int16_t evfilt_well = EVFILT_FS;  // no other filter uses it here
constexpr std::uint64_t well_count = 100;
constexpr std::uint64_t last_one = 99;           // `process` ends its knote by EV_ONESHOT
constexpr std::uint64_t refill_in_process = 98;  // `process` fills and activates it again
constexpr std::uint64_t vanishing = 96;          // `process` sets EV_VANISHED
constexpr std::uint64_t blocking = 97;           // `process` waits for `unblock`

thread_local int owner_of_thread = 0;
std::array<int, 4> owners{};  // only their addresses matter
std::atomic<int> disowned{0};

struct well {
  int level = 0;
  std::vector<knote*> notes;
};

struct well_filter {
  std::mutex lock;
  std::array<well, well_count> wells;
  std::vector<std::size_t> batches;  // sizes of process calls
  std::vector<int> pumps;            // the pump fd of each kqueue
  int attached = 0;
  std::atomic<int> detached = 0;
  int pumped = 0;
  std::atomic<bool> blocked{false};
  std::atomic<bool> unblock{false};
  // The pump runs until a knote is detached, and a thousand yields longer.
  std::atomic<bool> is_pump_slow{false};
  std::atomic<bool> in_pump{false};
  bool closed_in_pump = false;
  std::atomic<int> refills{0};  // how often the pump fd is readable again after the pump

  // Fills a well from any thread, as the source of its knotes would.
  void fill(std::uint64_t i, int by = 1) {
    const std::lock_guard hold(lock);
    wells[i].level += by;
    for (knote* note : wells[i].notes) kedge::kqueue::activate(*note);
  }
};
well_filter* filter = nullptr;

well& well_of(const knote& note) {
  return filter->wells[note.ident];
}

verdict attach(knote& note, const kevent64_s&) {
  if (note.ident >= well_count) return {ENOENT, false};
  const std::lock_guard hold(filter->lock);
  // The area belongs to the filter, and is zeroed before attach.
  for (const std::byte b : note.area) {
    if (b != std::byte{0}) return {EIO, false};
  }
  note.area[0] = std::byte{1};
  ++filter->attached;
  well_of(note).notes.push_back(&note);
  return {0, well_of(note).level > 0};
}

void detach(knote& note) noexcept {
  const std::lock_guard hold(filter->lock);
  ++filter->detached;
  std::erase(well_of(note).notes, &note);
}

verdict touch(knote& note, const kevent64_s& change) {
  if (change.fflags == 0xbad) return {EDOM, false};
  const std::lock_guard hold(filter->lock);
  note.fflags = change.fflags;
  note.data = change.data;
  note.ext[0] = change.ext[0];
  return {0, well_of(note).level > 0};
}

bool peek(knote& note) noexcept {
  const std::lock_guard hold(filter->lock);
  return well_of(note).level > 0;
}

void process(std::span<delivery> batch) noexcept {
  if (batch[0].note->ident == blocking) {
    filter->blocked = true;
    while (!filter->unblock) std::this_thread::yield();
  }
  const std::lock_guard hold(filter->lock);
  filter->batches.push_back(batch.size());
  for (delivery& d : batch) {
    well& w = well_of(*d.note);
    if (w.level == 0) continue;
    --w.level;
    d.fired = true;
    d.event.data = w.level;
    d.event.fflags = d.note->fflags;
    if (d.note->ident == last_one) d.event.flags |= EV_EOF | EV_ONESHOT;
    if (d.note->ident == vanishing && (d.note->flags & EV_VANISHED) != 0)
      d.event.flags |= EV_VANISHED;
    if (d.note->ident == refill_in_process && w.level == 0 && d.note->data-- > 0) {
      ++w.level;
      kedge::kqueue::activate(*d.note);
    }
  }
}

struct well_state {
  int fd;
};

int open(kedge::kqueue::queue&, void** state, int* pump_fd) noexcept {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return errno;
  const std::lock_guard hold(filter->lock);
  filter->pumps.push_back(fd);
  *state = new well_state{fd};
  *pump_fd = fd;
  return 0;
}

// Runs when the pump's fd is readable: activates all knotes of this kqueue whose wells are filled.
void pump(void* state) noexcept {
  std::uint64_t count = 0;
  if (::read(static_cast<well_state*>(state)->fd, &count, sizeof count) < 0) return;
  if (filter->is_pump_slow) {
    filter->in_pump = true;
    while (filter->detached == 0) std::this_thread::yield();
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    filter->in_pump = false;
  }
  const std::uint64_t one = 1;
  if (filter->refills > 0 && filter->refills-- > 0)
    CHECK(::write(static_cast<well_state*>(state)->fd, &one, sizeof one) == sizeof one);
  const std::lock_guard hold(filter->lock);
  ++filter->pumped;
  for (well& w : filter->wells) {
    for (knote* note : w.notes) {
      if (kedge::kqueue::filter_state(*note) == state && w.level > 0)
        kedge::kqueue::activate(*note);
    }
  }
}

void close_state(void* state) noexcept {
  const std::lock_guard hold(filter->lock);
  if (filter->in_pump) filter->closed_in_pump = true;
  std::erase(filter->pumps, static_cast<well_state*>(state)->fd);
  ::close(static_cast<well_state*>(state)->fd);
  delete static_cast<well_state*>(state);
}

constexpr kedge::kqueue::filter_operations operations{.attach = attach,
                                                      .detach = detach,
                                                      .touch = touch,
                                                      .peek = peek,
                                                      .process = process,
                                                      .open = open,
                                                      .pump = pump,
                                                      .close = close_state};

void* capture() noexcept {
  return &owners[static_cast<std::size_t>(owner_of_thread)];
}
void disown(void*) noexcept {
  ++disowned;
}

// Registers the filter once for all cases, and gives each case empty wells.
struct fresh_wells {
  fresh_wells() {
    static const bool is_registered = [] {
      filter = new well_filter;
      return kedge::kqueue::register_filter(evfilt_well, operations) &&
             kedge::kqueue::set_owner_hook({capture, disown});
    }();
    REQUIRE(is_registered);
    for (well& w : filter->wells) w.level = 0;
    filter->batches.clear();
    filter->attached = filter->detached = filter->pumped = 0;
    filter->blocked = filter->unblock = filter->is_pump_slow = false;
  }
};

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

}  // namespace

TEST_CASE("register_filter refuses a filter number that is taken or out of range") {
  const fresh_wells wells;
  CHECK(!kedge::kqueue::register_filter(evfilt_well, operations));
  CHECK(!kedge::kqueue::register_filter(EVFILT_READ, operations));
  CHECK(!kedge::kqueue::register_filter(0, operations));
  CHECK(!kedge::kqueue::register_filter(7, operations));
  CHECK(!kedge::kqueue::register_filter(-19, operations));
  CHECK(!kedge::kqueue::set_owner_hook({capture, disown}));
}

TEST_CASE(
    "an error of attach fails the change and leaves no knote, its verdict activates the knote") {
  const fresh_wells wells;
  const test_kqueue kq;
  CHECK(kq.apply(well_count, evfilt_well, EV_ADD) == ENOENT);
  CHECK(kq.apply(well_count, evfilt_well, EV_DELETE) == ENOENT);
  CHECK(filter->detached == 0);
  filter->fill(1, 2);
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD, 5, 6, 7) == 0);
  CHECK(kq.now() == event_list{event(1, evfilt_well, EV_ADD, 5, 1, 7)});
  REQUIRE(kq.apply(1, evfilt_well, EV_DELETE) == 0);
  CHECK(filter->attached == 1);
  CHECK(filter->detached == 1);
}

TEST_CASE("an error of touch fails the change without effect, what touch stores is reported") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD, 5, 0, 1) == 0);
  CHECK(kq.apply(1, evfilt_well, EV_ADD | EV_DISABLE, 0xbad, 0, 2) == EDOM);
  filter->fill(1);
  CHECK(only(kq.now(), evfilt_well).udata == 1);
  kevent64_s again = change(1, evfilt_well, EV_ADD, 6, 0, 3);
  again.ext[0] = 77;
  REQUIRE(kq.apply(again) == 0);
  filter->fill(1);
  kevent64_s expected = event(1, evfilt_well, EV_ADD, 6, 0, 3);
  expected.ext[0] = 77;
  CHECK(kq.now() == event_list{expected});
  REQUIRE(kq.apply(1, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("a level-triggered knote is processed in each call until it does not fire") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  filter->fill(1, 3);
  for (int i = 2; i >= 0; --i) {
    CAPTURE(i);
    CHECK(only(kq.now(), evfilt_well).data == i);
  }
  CHECK(kq.now().empty());
  filter->fill(1);
  CHECK(kq.now().size() == 1);
  REQUIRE(kq.apply(1, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("EV_CLEAR: one event per activation, and EV_DISPATCH and EV_DISABLE only delay it") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD | EV_CLEAR) == 0);
  filter->fill(1, 3);
  CHECK(kq.now().size() == 1);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(2, evfilt_well, EV_ADD | EV_DISPATCH) == 0);
  filter->fill(2, 3);
  CHECK(kq.now().size() == 1);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(2, evfilt_well, EV_ENABLE) == 0);
  CHECK(kq.now().size() == 1);
  REQUIRE(kq.apply(3, evfilt_well, EV_ADD | EV_DISABLE) == 0);
  filter->fill(3);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(3, evfilt_well, EV_ENABLE) == 0);
  CHECK(kq.now().size() == 1);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    CAPTURE(i);
    REQUIRE(kq.apply(i, evfilt_well, EV_DELETE) == 0);
  }
}

TEST_CASE("process gets all active knotes of a call in one batch, up to max_batch") {
  const fresh_wells wells;
  const test_kqueue kq;
  for (std::uint64_t i = 0; i < 90; ++i) {
    CAPTURE(i);
    REQUIRE(kq.apply(i, evfilt_well, EV_ADD | EV_CLEAR) == 0);
    REQUIRE(kq.apply(i, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
  }
  SUBCASE("ten, among those of another filter") {
    for (std::uint64_t i = 0; i < 10; ++i) filter->fill(i);
    CHECK(kq.now(200).size() == 100);
    CHECK(filter->batches == std::vector<std::size_t>{10});
  }
  SUBCASE("no more than the call has room for") {
    kq.now(200);
    for (std::uint64_t i = 0; i < 10; ++i) filter->fill(i);
    CHECK(kq.now(4).size() == 4);
    CHECK(filter->batches == std::vector<std::size_t>{4});
    CHECK(kq.now(200).size() == 6);
  }
  SUBCASE("90, in two batches") {
    for (std::uint64_t i = 0; i < 90; ++i) filter->fill(i);
    CHECK(kq.now(200).size() == 180);
    CHECK(filter->batches ==
          std::vector<std::size_t>{kedge::kqueue::max_batch, 90 - kedge::kqueue::max_batch});
  }
  for (std::uint64_t i = 0; i < 90; ++i) {
    CAPTURE(i);
    REQUIRE(kq.apply(i, evfilt_well, EV_DELETE) == 0);
  }
}

TEST_CASE("an activation during process is reported by the next call") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(refill_in_process, evfilt_well, EV_ADD | EV_CLEAR, 0, 2) == 0);
  filter->fill(refill_in_process);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(kq.now().size() == 1);
  }
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(refill_in_process, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("EV_ONESHOT that process sets deletes the knote after its event") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(last_one, evfilt_well, EV_ADD) == 0);
  filter->fill(last_one, 5);
  CHECK(only(kq.now(), evfilt_well).flags == (EV_ADD | EV_EOF | EV_ONESHOT));
  CHECK(filter->detached == 1);
  CHECK(kq.apply(last_one, evfilt_well, EV_DELETE) == ENOENT);
  filter->fill(last_one);
  CHECK(kq.now().empty());
}

TEST_CASE(
    "EV_VANISHED that process sets is reported once, then the knote stays until it is deleted") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(vanishing, evfilt_well, EV_ADD | EV_DISPATCH2 | EV_VANISHED, 0, 0, 5) == 0);
  filter->fill(vanishing, 5);
  CHECK(only(kq.now(), evfilt_well).flags == (EV_DISPATCH2 | EV_ONESHOT | EV_VANISHED));
  filter->fill(vanishing);
  CHECK(kq.now().empty());
  CHECK(filter->detached == 0);
  REQUIRE(kq.apply(vanishing, evfilt_well, EV_DELETE | EV_ENABLE | EV_UDATA_SPECIFIC, 0, 0, 5) ==
          0);
  CHECK(filter->detached == 1);
}

TEST_CASE("a drained level-triggered knote does not leave the kqueue readable, thanks to peek") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  CHECK(!readable(kq.fd()));
  filter->fill(1, 2);
  CHECK(readable(kq.fd()));
  CHECK(kq.now().size() == 1);
  CHECK(readable(kq.fd()));
  CHECK(kq.now().size() == 1);
  CHECK(!readable(kq.fd()));
  REQUIRE(kq.apply(1, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("each activation by another thread wakes a thread that waits") {
  const fresh_wells wells;
  const test_kqueue kq;
  bool pollable = true;
  SUBCASE("in a pollable kqueue") {}
  SUBCASE("in a kqueue with not_pollable") {
    pollable = false;
  }
  if (!pollable) REQUIRE(kedge::kqueue::opt_out(kq.fd(), kedge::kqueue::not_pollable));
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  std::thread source([] {
    for (int i = 0; i < 1000; ++i) filter->fill(1);
  });
  for (int taken = 0; taken < 1000; ++taken) {
    CAPTURE(taken);
    CHECK(kq.next().size() == 1);
  }
  source.join();
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(1, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("while process blocks, other knotes are delivered and EV_DELETE waits") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(blocking, evfilt_well, EV_ADD | EV_CLEAR, 0, 0, 1) == 0);
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD | EV_CLEAR) == 0);
  filter->fill(blocking);
  std::thread first([&] { CHECK(kq.next()[0].udata == 1); });
  while (!filter->blocked) std::this_thread::yield();

  REQUIRE(kq.apply(1, EVFILT_USER, 0, NOTE_TRIGGER) == 0);
  CHECK(only(kq.now(), EVFILT_USER).ident == 1);
  filter->fill(blocking);  // activates the knote that is being processed
  std::atomic<bool> deleted{false};
  std::thread second([&] {
    CHECK(kq.apply(blocking, evfilt_well, EV_DELETE) == 0);  // waits for process
    deleted = true;
  });
  CHECK(!deleted);
  filter->unblock = true;
  second.join();
  first.join();
  CHECK(filter->detached == 1);
  CHECK(kq.now().empty());
}

TEST_CASE("a call reports a level-triggered knote once though another call reports it meanwhile") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(1, EVFILT_USER, EV_ADD, NOTE_TRIGGER) == 0);
  REQUIRE(kq.apply(blocking, evfilt_well, EV_ADD | EV_CLEAR) == 0);
  filter->fill(blocking);
  event_list got;
  // Delivers the USER event, and is then in `process` of the other knote.
  std::thread first([&] { got = kq.now(); });
  while (!filter->blocked) std::this_thread::yield();
  CHECK(only(kq.now(1), EVFILT_USER).ident == 1);
  REQUIRE(kq.apply(2, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
  // In turn, so that the last call does not ask about the first knote.
  CHECK(only(kq.now(1), EVFILT_USER).ident == 1);
  CHECK(only(kq.now(1), EVFILT_USER).ident == 2);
  filter->unblock = true;
  first.join();
  CHECK(std::ranges::count(got, EVFILT_USER, &kevent64_s::filter) == 1);
  CHECK(got.size() == 2);
}

TEST_CASE("a readable pump fd wakes a thread that waits, and the pump activates knotes") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  REQUIRE(kq.apply(2, evfilt_well, EV_ADD) == 0);
  const int fd = filter->pumps.back();
  {
    const std::lock_guard hold(filter->lock);
    filter->wells[1].level = filter->wells[2].level = 1;
  }
  CHECK(kq.now().empty());
  std::thread source([fd] {
    const std::uint64_t one = 1;
    CHECK(::write(fd, &one, sizeof one) == sizeof one);
  });
  CHECK(kq.next().size() == 2);
  source.join();
  CHECK(filter->pumped == 1);
  CHECK(kq.now().empty());
  CHECK(!readable(kq.fd()));
  for (std::uint64_t i = 1; i <= 2; ++i) {
    CAPTURE(i);
    REQUIRE(kq.apply(i, evfilt_well, EV_DELETE) == 0);
  }
}

TEST_CASE("a held knote outlives its detach, and activating it then has no effect") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  kedge::kqueue::knote* const note = filter->wells[1].notes.front();
  kedge::kqueue::hold(*note);
  REQUIRE(kq.apply(1, evfilt_well, EV_DELETE) == 0);
  REQUIRE(kq.apply(2, evfilt_well, EV_ADD) == 0);
  CHECK(filter->wells[2].notes.front() != note);
  kedge::kqueue::activate(*note);
  CHECK(kq.now().empty());
  CHECK(!readable(kq.fd()));
  kedge::kqueue::release(*note);
  REQUIRE(kq.apply(2, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE(
    "the owner hook runs in the thread that makes a kqueue, and closing it detaches and disowns") {
  const fresh_wells wells;
  owner_of_thread = 2;
  test_kqueue kq;
  owner_of_thread = 3;
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  CHECK(kedge::kqueue::owner(*filter->wells[1].notes.front()) == &owners[2]);

  const std::size_t pumps = filter->pumps.size();
  const int disowned_before = disowned;
  const int fd = kq.fd();
  kq.close();
  const test_kqueue next;
  REQUIRE(next.fd() == fd);
  CHECK(filter->detached == 1);
  CHECK(filter->wells[1].notes.empty());
  CHECK(filter->pumps.size() == pumps - 1);
  CHECK(disowned == disowned_before + 1);
  REQUIRE(next.apply(1, evfilt_well, EV_ADD) == 0);
  CHECK(kedge::kqueue::owner(*filter->wells[1].notes.front()) == &owners[3]);
  REQUIRE(next.apply(1, evfilt_well, EV_DELETE) == 0);
  owner_of_thread = 0;
}

TEST_CASE("a pump that is readable whenever it is asked does not prolong a call") {
  const fresh_wells wells;
  const test_kqueue kq;
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  const fd_pair p = fd_pair::of_pipe();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  filter->refills = 10'000;
  const std::uint64_t one = 1;
  REQUIRE(::write(filter->pumps.back(), &one, sizeof one) == sizeof one);
  // One event of epoll's fills the room.
  CHECK(kq.now(1).empty());
  CHECK(filter->pumped <= 2);
  p.put(1, "x");
  const event_list got = kq.now(1);
  CHECK(only(got, EVFILT_READ).data == 1);
  filter->refills = 0;
}

TEST_CASE("closing a kqueue waits for a pump that is running") {
  const fresh_wells wells;
  test_kqueue kq;
  const int fd = kq.fd();
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  REQUIRE(filter->pumps.size() == 1);
  filter->is_pump_slow = true;
  int error = 0;
  std::thread waiter([&] {
    kevent64_s event;
    if (kevent64(fd, nullptr, 0, &event, 1, 0, nullptr) < 0) error = errno;
  });
  const std::uint64_t one = 1;
  CHECK(::write(filter->pumps[0], &one, sizeof one) == sizeof one);
  while (!filter->in_pump) std::this_thread::yield();
  kq.close();
  const test_kqueue next;  // a new kqueue with the fd of the old one ends the old one
  CHECK(next.fd() == fd);
  waiter.join();
  CHECK(error == EBADF);
  CHECK(!filter->closed_in_pump);
}
