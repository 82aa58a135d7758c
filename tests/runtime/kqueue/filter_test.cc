// The filter contract (kedge/kqueue/filter.h): a filter plugged in from outside. It watches
// "wells": counters that threads fill, and that a knote drains by one with each event.

#include "kqueue_of_test.h"

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

constexpr std::int16_t evfilt_well = EVFILT_FS;  // a number that nobody serves here
constexpr std::uint64_t wells_there = 100;
constexpr std::uint64_t last_one = 99;  // its event ends its knote
constexpr std::uint64_t refill_in_process = 98;
constexpr std::uint64_t gone = 96;      // reports that it vanished
constexpr std::uint64_t blocking = 97;  // `process` waits for `unblock`

thread_local int owner_of_thread = 0;
std::array<int, 4> owners{};  // places to point at
std::atomic<int> disowned{0};

struct well {
  int level = 0;
  std::vector<knote*> notes;
};

struct well_filter {
  std::mutex lock;
  std::array<well, wells_there> wells;
  std::vector<std::size_t> batches;  // sizes of process calls
  std::vector<int> pumps;            // the pump of each kqueue
  int attached = 0;
  std::atomic<int> detached = 0;
  int pumped = 0;
  std::atomic<bool> blocked{false};
  std::atomic<bool> unblock{false};
  std::atomic<bool> pump_dawdles{false};  // until a knote is detached, and some
  std::atomic<bool> in_pump{false};
  bool closed_in_pump = false;

  // Fills a well from any thread, as its knotes' source would.
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
  if (note.ident >= wells_there) return {ENOENT, false};
  const std::lock_guard hold(filter->lock);
  // The area is the filter's, and comes zeroed.
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
    if (d.note->ident == gone && (d.note->flags & EV_VANISHED) != 0) d.event.flags |= EV_VANISHED;
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

// What the pump says: wells were filled, look at all of this kqueue's knotes.
void pump(void* state) noexcept {
  std::uint64_t count = 0;
  if (::read(static_cast<well_state*>(state)->fd, &count, sizeof count) < 0) return;
  if (filter->pump_dawdles) {
    filter->in_pump = true;
    while (filter->detached == 0) std::this_thread::yield();
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    filter->in_pump = false;
  }
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

// Plugged in once for all cases; each begins with fresh wells.
struct wells_of_test {
  wells_of_test() {
    static const bool plugged = [] {
      filter = new well_filter;
      return kedge::kqueue::register_filter(evfilt_well, operations) &&
             kedge::kqueue::set_owner_hook({capture, disown});
    }();
    REQUIRE(plugged);
    for (well& w : filter->wells) w.level = 0;
    filter->batches.clear();
    filter->attached = filter->detached = filter->pumped = 0;
    filter->blocked = filter->unblock = filter->pump_dawdles = false;
  }
};

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

}  // namespace

TEST_CASE("a number is taken once, and must be one") {
  const wells_of_test wells;
  CHECK(!kedge::kqueue::register_filter(evfilt_well, operations));
  CHECK(!kedge::kqueue::register_filter(EVFILT_READ, operations));
  CHECK(!kedge::kqueue::register_filter(0, operations));
  CHECK(!kedge::kqueue::register_filter(7, operations));
  CHECK(!kedge::kqueue::register_filter(-EVFILT_SYSCOUNT - 1, operations));
  CHECK(!kedge::kqueue::set_owner_hook({capture, disown}));
}

TEST_CASE("attach: its error is the change's, and leaves nothing; its verdict is an activation") {
  const wells_of_test wells;
  const kqueue_of_test kq;
  CHECK(kq.apply(wells_there, evfilt_well, EV_ADD) == ENOENT);
  CHECK(kq.apply(wells_there, evfilt_well, EV_DELETE) == ENOENT);
  CHECK(filter->detached == 0);
  filter->fill(1, 2);
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD, 5, 6, 7) == 0);
  const event_list got = kq.now();
  REQUIRE(got.size() == 1);
  CHECK(got[0].ident == 1);
  CHECK(got[0].filter == evfilt_well);
  CHECK(got[0].flags == EV_ADD);
  CHECK(got[0].fflags == 5);
  CHECK(got[0].data == 1);
  CHECK(got[0].udata == 7);
  REQUIRE(kq.apply(1, evfilt_well, EV_DELETE) == 0);
  CHECK(filter->attached == 1);
  CHECK(filter->detached == 1);
}

TEST_CASE("touch: its error is the change's and changes nothing; what it stores is reported") {
  const wells_of_test wells;
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD, 5, 0, 1) == 0);
  CHECK(kq.apply(1, evfilt_well, EV_ADD | EV_DISABLE, 0xbad, 0, 2) == EDOM);
  filter->fill(1);
  CHECK(only(kq.now(), evfilt_well).udata == 1);
  kevent64_s again = change(1, evfilt_well, EV_ADD, 6, 0, 3);
  again.ext[0] = 77;
  REQUIRE(kq.apply(again) == 0);
  filter->fill(1);
  const event_list got = kq.now();
  CHECK(only(got, evfilt_well).fflags == 6);
  CHECK(only(got, evfilt_well).udata == 3);
  CHECK(only(got, evfilt_well).ext[0] == 77);
  REQUIRE(kq.apply(1, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("a level-triggered knote is asked until it has nothing to report") {
  const wells_of_test wells;
  const kqueue_of_test kq;
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  filter->fill(1, 3);
  for (int i = 2; i >= 0; --i) CHECK(only(kq.now(), evfilt_well).data == i);
  CHECK(kq.now().empty());
  filter->fill(1);
  CHECK(kq.now().size() == 1);
  REQUIRE(kq.apply(1, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("EV_CLEAR: once per activation; DISPATCH and DISABLE hold it back, not off") {
  const wells_of_test wells;
  const kqueue_of_test kq;
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
  for (std::uint64_t i = 1; i <= 3; ++i) REQUIRE(kq.apply(i, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("process gets all of a call's knotes in one batch, up to max_batch") {
  const wells_of_test wells;
  const kqueue_of_test kq;
  for (std::uint64_t i = 0; i < 90; ++i) {
    REQUIRE(kq.apply(i, evfilt_well, EV_ADD | EV_CLEAR) == 0);
    REQUIRE(kq.apply(i, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER) == 0);
  }
  SUBCASE("few, among another filter's") {
    for (std::uint64_t i = 0; i < 10; ++i) filter->fill(i);
    CHECK(kq.now(200).size() == 100);
    CHECK(filter->batches == std::vector<std::size_t>{10});
  }
  SUBCASE("as many as there is room for") {
    kq.now(200);
    for (std::uint64_t i = 0; i < 10; ++i) filter->fill(i);
    CHECK(kq.now(4).size() == 4);
    CHECK(filter->batches == std::vector<std::size_t>{4});
    CHECK(kq.now(200).size() == 6);
  }
  SUBCASE("many") {
    for (std::uint64_t i = 0; i < 90; ++i) filter->fill(i);
    CHECK(kq.now(200).size() == 180);
    CHECK(filter->batches ==
          std::vector<std::size_t>{kedge::kqueue::max_batch, 90 - kedge::kqueue::max_batch});
  }
  for (std::uint64_t i = 0; i < 90; ++i) REQUIRE(kq.apply(i, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("an activation during process is not lost") {
  const wells_of_test wells;
  const kqueue_of_test kq;
  REQUIRE(kq.apply(refill_in_process, evfilt_well, EV_ADD | EV_CLEAR, 0, 2) == 0);
  filter->fill(refill_in_process);
  for (int i = 0; i < 3; ++i) CHECK(kq.now().size() == 1);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(refill_in_process, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("EV_ONESHOT from process ends the knote") {
  const wells_of_test wells;
  const kqueue_of_test kq;
  REQUIRE(kq.apply(last_one, evfilt_well, EV_ADD) == 0);
  filter->fill(last_one, 5);
  CHECK(only(kq.now(), evfilt_well).flags == (EV_ADD | EV_EOF | EV_ONESHOT));
  CHECK(filter->detached == 1);
  CHECK(kq.apply(last_one, evfilt_well, EV_DELETE) == ENOENT);
  filter->fill(last_one);
  CHECK(kq.now().empty());
}

TEST_CASE("EV_VANISHED from process: reported once, then the knote waits for its end") {
  const wells_of_test wells;
  const kqueue_of_test kq;
  REQUIRE(kq.apply(gone, evfilt_well, EV_ADD | EV_DISPATCH2 | EV_VANISHED, 0, 0, 5) == 0);
  filter->fill(gone, 5);
  CHECK(only(kq.now(), evfilt_well).flags == (EV_DISPATCH2 | EV_ONESHOT | EV_VANISHED));
  filter->fill(gone);
  CHECK(kq.now().empty());
  CHECK(filter->detached == 0);
  REQUIRE(kq.apply(gone, evfilt_well, EV_DELETE | EV_ENABLE | EV_UDATA_SPECIFIC, 0, 0, 5) == 0);
  CHECK(filter->detached == 1);
}

TEST_CASE("peek keeps a drained level-triggered knote from looking readable") {
  const wells_of_test wells;
  const kqueue_of_test kq;
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

TEST_CASE("another thread's activation wakes a sleeper, pollable or not") {
  const wells_of_test wells;
  const kqueue_of_test kq;
  bool pollable = true;
  SUBCASE("pollable") {}
  SUBCASE("not pollable") {
    pollable = false;
  }
  if (!pollable) REQUIRE(kedge::kqueue::opt_out(kq.fd(), kedge::kqueue::not_pollable));
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  std::thread source([] {
    for (int i = 0; i < 1000; ++i) filter->fill(1);
  });
  for (int taken = 0; taken < 1000; ++taken) CHECK(kq.next().size() == 1);
  source.join();
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(1, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("process may block: the kqueue's other knotes and calls go on") {
  const wells_of_test wells;
  const kqueue_of_test kq;
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

TEST_CASE("the pump's descriptor wakes a sleeper, and its call activates") {
  const wells_of_test wells;
  const kqueue_of_test kq;
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
  for (std::uint64_t i = 1; i <= 2; ++i) REQUIRE(kq.apply(i, evfilt_well, EV_DELETE) == 0);
}

TEST_CASE("a held knote outlives its detach; activating it then does nothing") {
  const wells_of_test wells;
  const kqueue_of_test kq;
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

TEST_CASE("the owner is who made the kqueue; the end of the kqueue detaches, closes and disowns") {
  const wells_of_test wells;
  owner_of_thread = 2;
  kqueue_of_test kq;
  owner_of_thread = 3;
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  CHECK(kedge::kqueue::owner(*filter->wells[1].notes.front()) == &owners[2]);

  const std::size_t pumps = filter->pumps.size();
  const int disowned_before = disowned;
  const int number = kq.fd();
  kq.close();
  const kqueue_of_test next;
  REQUIRE(next.fd() == number);
  CHECK(filter->detached == 1);
  CHECK(filter->wells[1].notes.empty());
  CHECK(filter->pumps.size() == pumps - 1);
  CHECK(disowned == disowned_before + 1);
  REQUIRE(next.apply(1, evfilt_well, EV_ADD) == 0);
  CHECK(kedge::kqueue::owner(*filter->wells[1].notes.front()) == &owners[3]);
  REQUIRE(next.apply(1, evfilt_well, EV_DELETE) == 0);
  owner_of_thread = 0;
}

TEST_CASE("a kqueue's end waits for a pump that is running") {
  const wells_of_test wells;
  kqueue_of_test kq;
  const int number = kq.fd();
  REQUIRE(kq.apply(1, evfilt_well, EV_ADD) == 0);
  REQUIRE(filter->pumps.size() == 1);
  filter->pump_dawdles = true;
  int error = 0;
  std::thread waiter([&] {
    kevent64_s event;
    if (kevent64(number, nullptr, 0, &event, 1, 0, nullptr) < 0) error = errno;
  });
  const std::uint64_t one = 1;
  CHECK(::write(filter->pumps[0], &one, sizeof one) == sizeof one);
  while (!filter->in_pump) std::this_thread::yield();
  kq.close();
  const kqueue_of_test next;  // the number is taken again: that ends the old one
  CHECK(next.fd() == number);
  waiter.join();
  CHECK(error == EBADF);
  CHECK(!filter->closed_in_pump);
}
