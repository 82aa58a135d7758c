#include "kedge/runtime/loop.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "drain.h"
#include "gate.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/reactor/drive_hook.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::gate;
using kedge::loop;
using kedge::task;
using kedge::virtual_time;

task<int> number(int n) {
  co_return n;
}
task<> note(std::vector<int>& order, int n) {
  order.push_back(n);
  co_return;
}
task<> fail(const char* what) {
  co_await kedge::yield();
  throw std::runtime_error(what);
}
// Sets the flag that it was made with when it is destroyed.
struct flagged {
  explicit flagged(bool& f) : gone(&f) {}
  flagged(flagged&& other) noexcept : gone(std::exchange(other.gone, nullptr)) {}
  flagged& operator=(flagged&&) = delete;
  ~flagged() {
    if (gone != nullptr) *gone = true;
  }
  bool* gone;
};
task<> sleep_forever(flagged) {
  co_await kedge::sleep_for(1000h);
}

// Polls for at most `milliseconds`.
bool readable(int fd, int milliseconds) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, milliseconds) == 1;
}

TEST_CASE("run() returns the value of its awaitable or throws its exception") {
  virtual_time time;
  loop l(time);
  CHECK(l.run(number(7)) == 7);
  CHECK(l.run(number(8)) == 8);
  CHECK_THROWS_AS(l.run(fail("x")), std::runtime_error);
  l.run(kedge::sleep_for(1ns));
  l.run(kedge::yield());
  const std::unique_ptr<int> p =
      l.run([]() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); }());
  CHECK(*p == 3);
}

TEST_CASE("spawned tasks run beside run()'s awaitable, and those that wait stay") {
  loop l;
  std::vector<int> order;
  l.spawn(note(order, 1));
  l.spawn(note, std::ref(order), 2);
  l.spawn([&] { return note(order, 3); });
  l.spawn(kedge::sleep_for(1000h));
  CHECK(order.empty());
  CHECK(l.size() == 4);
  l.run(kedge::sleep_for(0ns));
  CHECK(order == std::vector{1, 2, 3});
  CHECK(l.size() == 1);
}

TEST_CASE("poll() and run_once() drive a loop without run(), by the machine's clock") {
  loop l;
  std::vector<int> order;
  CHECK_FALSE(l.poll());
  l.spawn(note(order, 1));
  CHECK(l.poll());
  CHECK(order == std::vector{1});
  CHECK(l.size() == 0);
  CHECK_FALSE(l.poll());

  l.spawn([&]() -> task<> {
    co_await kedge::sleep_for(1ms);
    order.push_back(2);
  });
  while (l.size() != 0) l.run_once();
  CHECK(order == std::vector{1, 2});
  CHECK_FALSE(l.run_once(1ms));  // ends at its limit
}

TEST_CASE("next_deadline() is now, the earliest timer's deadline, or nothing") {
  loop l;
  CHECK_FALSE(l.next_deadline());
  const auto far = kedge::clock::now() + 1000h;
  l.spawn([far]() -> task<> { co_await kedge::sleep_until(far); });
  REQUIRE(l.next_deadline());
  const auto due = *l.next_deadline();
  CHECK(due <= kedge::clock::now());
  l.poll();
  while (*l.next_deadline() < far) l.poll();
  CHECK(*l.next_deadline() == far);
  l.cancel();
  CHECK(*l.next_deadline() < far);
  while (l.size() != 0) l.poll();
  CHECK_FALSE(l.next_deadline());
}

TEST_CASE("deadlines at both ends of time pass at once or never") {
  virtual_time time;
  loop l(time);
  l.run(kedge::sleep_until(kedge::clock::time_point::min()));
  l.run(kedge::sleep_for(kedge::clock::duration::min()));
  static_cast<void>(l.native_handle());
  l.spawn(kedge::sleep_until(kedge::clock::time_point::max()));
  l.spawn(kedge::sleep_for(kedge::clock::duration::max()));
  l.run(kedge::sleep_for(1ns));
  time.advance(100'000h);
  CHECK_FALSE(l.run_once(0ns));
  CHECK(l.size() == 2);
}

TEST_CASE("native_handle() alone drives a loop whose tasks sleep") {
  virtual_time time;
  loop l(time);
  const int handle = l.native_handle();
  bool done = false;
  l.spawn([&]() -> task<> {
    for (int i = 0; i < 3; ++i) co_await kedge::sleep_for(1ms);
    done = true;
  });
  while (l.size() != 0) {
    while (readable(handle, 0)) l.poll();
    time.advance(1ms);
    REQUIRE(readable(handle, 0));
    l.poll();
  }
  CHECK(done);
}

TEST_CASE("native_handle() becomes readable for an earlier timer, then for the later one") {
  virtual_time time;
  loop l(time);
  const int handle = l.native_handle();
  std::vector<int> order;
  const auto soon = time.now() + 1ms;
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_until(soon + 20ms);
    order.push_back(2);
  });
  REQUIRE(readable(handle, 0));
  while (readable(handle, 0)) l.poll();
  l.spawn([&]() -> task<> {
    co_await kedge::sleep_until(soon);
    order.push_back(1);
  });
  while (readable(handle, 0)) l.poll();
  time.advance(1ms);
  REQUIRE(readable(handle, 0));
  while (readable(handle, 0)) l.poll();
  CHECK(order == std::vector{1});
  time.advance(20ms);
  REQUIRE(readable(handle, 0));
  while (readable(handle, 0)) l.poll();
  CHECK(order == std::vector{1, 2});
  CHECK(l.size() == 0);
}

TEST_CASE("native_handle() is readable after a spawn, before the first drive and between drives") {
  loop l;
  std::vector<int> order;
  l.spawn(note(order, 1));
  const int handle = l.native_handle();
  REQUIRE(readable(handle, 0));
  while (readable(handle, 0)) l.poll();
  CHECK(order == std::vector{1});
  l.spawn(note(order, 2));
  REQUIRE(readable(handle, 0));
  while (readable(handle, 0)) l.poll();
  CHECK(order == std::vector{1, 2});
  CHECK(l.size() == 0);
}

TEST_CASE("native_handle() stays readable while a task yields without end") {
  loop l;
  const int handle = l.native_handle();
  l.spawn([]() -> task<> {
    for (int i = 0; i < 10'000; ++i) co_await kedge::yield();
  });
  while (l.size() != 0) {
    REQUIRE(readable(handle, 0));
    l.poll();
  }
}

TEST_CASE(
    "native_handle() becomes readable for a descriptor whose wait was spawned between drives") {
  virtual_time time;
  loop l(time);
  const int handle = l.native_handle();
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  {
    kedge::descriptor in(l, ends[0], kedge::ownership::owned);
    l.spawn(in.readable());
    l.spawn(kedge::sleep_for(1ms));
    REQUIRE(::write(ends[1], "x", 1) == 1);
    while (readable(handle, 0)) l.poll();
    CHECK(l.size() == 1);
    time.advance(1ms);
    while (readable(handle, 0)) l.poll();
    CHECK(l.size() == 0);
  }
  ::close(ends[1]);
}

TEST_CASE("native_handle() becomes readable after a close() and a cancel() between drives") {
  loop l;
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  kedge::descriptor in(l, ends[0], kedge::ownership::owned);
  const int handle = l.native_handle();
  std::error_code error;
  l.spawn([&]() -> task<> { error = (co_await in.readable()).error(); });
  while (readable(handle, 0)) l.poll();
  CHECK(l.size() == 1);
  in.close();
  REQUIRE(readable(handle, 0));
  while (readable(handle, 0)) l.poll();
  CHECK(error == kedge::errc::closed);
  l.spawn(kedge::sleep_for(1000h));
  while (readable(handle, 0)) l.poll();
  l.cancel();
  REQUIRE(readable(handle, 0));
  while (readable(handle, 0)) l.poll();
  CHECK(l.size() == 0);
  ::close(ends[1]);
}

TEST_CASE("native_handle() becomes readable for a post, of another thread or of the loop's own") {
  loop l;
  const kedge::remote to = l.get_remote();
  const int handle = l.native_handle();
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    while (readable(handle, 0)) l.poll();
    bool ran = false;
    std::thread poster([&] { to.post([&] { ran = true; }); });
    REQUIRE(readable(handle, 10'000));
    poster.join();
    while (readable(handle, 0)) l.poll();
    CHECK(ran);
  }
  // Posted by the loop's own thread between drives.
  bool ran = false;
  to.post([&] { ran = true; });
  REQUIRE(readable(handle, 0));
  while (readable(handle, 0)) l.poll();
  CHECK(ran);
}

TEST_CASE(
    "native_handle() becomes readable for a post after run() threw a spawned task's failure") {
  virtual_time time;
  loop l(time);
  const kedge::remote to = l.get_remote();
  const int handle = l.native_handle();
  l.spawn([]() -> task<> {
    co_await kedge::sleep_for(1ms);
    throw std::runtime_error("x");
  });
  CHECK_THROWS_AS(l.run(kedge::sleep_for(1000h)), std::runtime_error);
  bool ran = false;
  to.post([&] { ran = true; });
  REQUIRE(readable(handle, 0));
  l.poll();
  CHECK(ran);
}

TEST_CASE("a drive within a drive of the same loop throws std::logic_error and changes nothing") {
  loop l;
  loop other;
  int refused = 0;
  l.run([&]() -> task<> {
    CHECK_THROWS_AS(l.poll(), std::logic_error);
    CHECK_THROWS_AS(l.run_once(), std::logic_error);
    CHECK_THROWS_AS(l.run(number(1)), std::logic_error);
    CHECK(loop::current() == &l);
    CHECK(other.run([&]() -> task<int> {
      CHECK(loop::current() == &other);
      co_return 5;
    }()) == 5);
    CHECK(loop::current() == &l);
    ++refused;
    co_await kedge::yield();
    ++refused;
  }());
  CHECK(refused == 2);
  CHECK(loop::current() == nullptr);
}

TEST_CASE("the failure of a spawned task cancels the others and is thrown by the drive, once") {
  loop l;
  bool gone = false;
  l.spawn(sleep_forever, flagged(gone));
  l.spawn(fail("first"));
  SUBCASE("run() throws it") {
    try {
      l.run(kedge::sleep_for(1000h));
      FAIL("did not throw");
    } catch (const std::runtime_error& e) {
      CHECK(std::string(e.what()) == "first");
    }
  }
  SUBCASE("run_once() throws it") {
    bool thrown = false;
    while (!thrown) {
      try {
        l.run_once();
      } catch (const std::runtime_error& e) {
        thrown = true;
        CHECK(std::string(e.what()) == "first");
      }
    }
  }
  CHECK(gone);
  CHECK(l.size() == 0);
  // The loop works as before.
  std::vector<int> order;
  l.spawn(note(order, 1));
  CHECK(l.run(number(4)) == 4);
  while (l.size() != 0) l.poll();
  CHECK(order == std::vector{1});
}

TEST_CASE("cancel() ends run() with `cancelled`, and the spawned tasks") {
  loop l;
  bool gone = false;
  l.spawn(sleep_forever, flagged(gone));
  l.spawn([&]() -> task<> {
    co_await kedge::yield();
    l.cancel();
  });
  CHECK_THROWS_AS(l.run(kedge::sleep_for(1000h)), kedge::cancelled);
  while (l.size() != 0) l.poll();
  CHECK(gone);
}

TEST_CASE("a loop that was cancelled can be used again") {
  virtual_time time;
  loop l(time);
  l.cancel();  // no task to cancel
  std::vector<int> order;
  l.spawn(note(order, 1));
  l.run(kedge::sleep_for(1ns));
  CHECK(order == std::vector{1});
  l.spawn(kedge::sleep_for(1000h));
  l.cancel();
  while (l.size() != 0) l.poll();
  l.spawn(note(order, 2));
  l.run(kedge::sleep_for(1ns));
  CHECK(order == std::vector{1, 2});
}

TEST_CASE("a task that a destructor of a cancelled run() spawns is not cancelled") {
  loop l;
  bool started = false;
  struct spawns {
    spawns(loop& in, bool& flag) noexcept : l(in), started(flag) {}
    spawns(const spawns&) = delete;
    spawns& operator=(const spawns&) = delete;
    ~spawns() {
      l.spawn(
          [](bool& s) -> task<> {
            co_await kedge::yield();
            s = true;
          },
          std::ref(started));
    }
    loop& l;
    bool& started;
  };
  CHECK_THROWS_AS(l.run([](loop& own, bool& flag) -> task<> {
    const spawns at_end(own, flag);
    own.cancel();
    co_await kedge::yield();
  }(l, started)),
                  kedge::cancelled);
  while (l.size() != 0) l.poll();
  CHECK(started);
}

TEST_CASE(
    "a cancel() does not reach the tasks of the next run(), while a cancelled one still ends") {
  loop l;
  gate late, g;
  late.answer = gate::cancelling::ends_late;
  bool ended_late = false;
  l.spawn([](gate& at, flagged) -> task<> { co_await at.wait(); }, std::ref(late),
          flagged(ended_late));
  l.spawn([&]() -> task<> {
    co_await kedge::yield();
    l.cancel();
  });
  CHECK_THROWS_AS(l.run(kedge::sleep_for(1000h)), kedge::cancelled);
  CHECK(late.cancelled == 1);
  CHECK(l.size() == 1);
  std::vector<int> order;
  l.run([](loop& own, gate& at, std::vector<int>& o) -> task<> {
    own.spawn(note(o, 1));
    own.spawn([&]() -> task<> {
      co_await at.wait();
      o.push_back(2);
    });
    while (at.waiting == nullptr) co_await kedge::yield();
    at.open();
    while (o.size() < 2) co_await kedge::yield();
  }(l, g, order));
  CHECK(order == std::vector{1, 2});
  CHECK_FALSE(ended_late);
  late.open();
  while (l.size() != 0) l.poll();
  CHECK(ended_late);
}

TEST_CASE("try_run() reports a value, a failure or a cancellation with its cause") {
  loop l;
  CHECK(*l.try_run(number(7)) == 7);
  CHECK(l.try_run(kedge::yield()).has_value());
  const auto failed = l.try_run(fail("x"));
  REQUIRE(failed.failed());
  CHECK_THROWS_AS(std::rethrow_exception(failed.failure()), std::runtime_error);
  bool gone = false;
  l.spawn([&]() -> task<> {
    co_await kedge::yield();
    l.cancel();
  });
  const auto ended = l.try_run(sleep_forever(flagged(gone)));
  REQUIRE(ended.cancelled());
  CHECK(ended.cause() == kedge::cancel_cause::requested);
  CHECK(gone);
  l.spawn(fail("spawned"));
  CHECK_THROWS_AS(static_cast<void>(l.try_run(kedge::sleep_for(1000h))), std::runtime_error);
}

std::vector<std::string> messages_of(const std::vector<std::exception_ptr>& failures) {
  std::vector<std::string> all;
  for (const std::exception_ptr& f : failures) {
    try {
      std::rethrow_exception(f);
    } catch (const std::runtime_error& e) {
      all.emplace_back(e.what());
    }
  }
  return all;
}

TEST_CASE("run() throws the failure of a spawned task, and failures() has the later ones too") {
  loop l;
  const auto fail_when_cancelled = [](const char* what) -> task<> {
    static_cast<void>(co_await kedge::attempt(kedge::sleep_for(1000h)));
    throw std::runtime_error(what);
  };
  l.spawn(fail("child"));
  l.spawn(fail_when_cancelled("other child"));
  try {
    l.run(fail_when_cancelled("root"));
    FAIL("did not throw");
  } catch (const std::runtime_error& e) {
    CHECK(std::string(e.what()) == "child");
  }
  CHECK(messages_of(l.failures()) == std::vector<std::string>{"child", "other child", "root"});
  // The failure of the awaitable alone leaves the spawned tasks alone.
  l.spawn(kedge::sleep_for(1000h));
  CHECK_THROWS_AS(l.run(fail("alone")), std::runtime_error);
  CHECK(messages_of(l.failures()) == std::vector<std::string>{"alone"});
  CHECK(l.size() == 1);
}

// Opens a gate when it is destroyed.
class opens_at_end {
 public:
  explicit opens_at_end(gate& g) noexcept : gate_(&g) {}
  opens_at_end(opens_at_end&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
  opens_at_end& operator=(opens_at_end&&) = delete;
  ~opens_at_end() {
    if (gate_ != nullptr) gate_->open();
  }

 private:
  gate* gate_;
};

TEST_CASE("native_handle() is readable when a destructor of what run() ran makes a task ready") {
  const auto ends = [](opens_at_end, bool fails) -> task<> {
    if (fails) throw std::runtime_error("x");
    co_return;
  };
  for (const bool fails : {false, true}) {
    CAPTURE(fails);
    loop l;
    gate g;
    l.spawn(g.wait());
    const int handle = l.native_handle();
    while (readable(handle, 0)) l.poll();
    CHECK(g.waiting != nullptr);
    CHECK(l.try_run(ends(opens_at_end(g), fails)).failed() == fails);
    CHECK(g.is_open);
    CHECK(l.size() == 1);
    REQUIRE(readable(handle, 0));
    while (readable(handle, 0)) l.poll();
    CHECK(l.size() == 0);
  }
}

TEST_CASE("native_handle() is readable when the closure of a failed task spawns at its end") {
  for (const bool by_run : {false, true}) {
    CAPTURE(by_run);
    loop l;
    const int handle = l.native_handle();
    bool ran = false;
    struct spawns {
      spawns(loop& in, bool& flag) noexcept : l(&in), ran(&flag) {}
      spawns(spawns&& other) noexcept : l(std::exchange(other.l, nullptr)), ran(other.ran) {}
      spawns& operator=(spawns&&) = delete;
      ~spawns() {
        if (l == nullptr) return;
        l->spawn(
            [](bool& r) -> task<> {
              r = true;
              co_return;
            },
            std::ref(*ran));
      }
      loop* l;
      bool* ran;
    };
    l.spawn([](const spawns&) { return fail("x"); }, spawns(l, ran));
    if (by_run) {
      CHECK_THROWS_AS(l.run(kedge::sleep_for(1000h)), std::runtime_error);
    } else {
      CHECK_THROWS_AS(drain(l), std::runtime_error);
    }
    CHECK(l.size() == 1);
    while (readable(handle, 0)) l.poll();
    CHECK(ran);
    CHECK(l.size() == 0);
  }
}

TEST_CASE("a value that run()'s awaitable returns after a cancel() is delivered") {
  loop l;
  CHECK(l.run([](loop& own) -> task<int> {
    own.cancel();
    co_return 6;
  }(l)) == 6);
}

TEST_CASE("a loop that is destroyed destroys tasks that wait, are ready, or never started") {
  bool started = false, waiting = false, ready = false;
  {
    virtual_time time;
    loop l(time);
    l.spawn(sleep_forever, flagged(waiting));
    l.run(kedge::sleep_for(1ns));
    l.spawn(sleep_forever, flagged(started));
    l.spawn(
        [](flagged f) -> task<> {
          for (;;) co_await kedge::yield();
          static_cast<void>(f);
        },
        flagged(ready));
    l.poll();
    CHECK_FALSE(started);
  }
  CHECK(started);
  CHECK(waiting);
  CHECK(ready);
}

TEST_CASE("two loops on one thread are driven independently") {
  virtual_time time;
  loop a(time), b(time);
  std::vector<int> order;
  a.spawn([&]() -> task<> {
    for (int i = 0; i < 3; ++i) {
      order.push_back(i);
      CHECK(loop::current() == &a);
      co_await kedge::yield();
    }
  });
  b.spawn([&]() -> task<> {
    co_await kedge::sleep_for(1ms);
    CHECK(loop::current() == &b);
    order.push_back(10);
  });
  while (a.size() != 0) a.poll();
  CHECK(order == std::vector{0, 1, 2});
  while (!order.empty() && order.back() != 10) {
    time.advance(1ms);
    b.poll();
  }
  CHECK(b.size() == 0);
}

class counting_hook final : public kedge::drive_hook {
 public:
  void enter() noexcept override {
    ++entered;
    ++inside;
  }
  void leave() noexcept override { --inside; }
  int entered = 0;
  int inside = 0;
};
// Counts in `seen` whether it is destroyed inside of the hook.
struct within {
  explicit within(counting_hook& h, int& n) : hook(&h), seen(&n) {}
  within(within&& other) noexcept : hook(std::exchange(other.hook, nullptr)), seen(other.seen) {}
  within& operator=(within&&) = delete;
  ~within() {
    if (hook != nullptr) *seen += hook->inside;
  }
  counting_hook* hook;
  int* seen;
};

TEST_CASE("the turn hook encloses every drive and the destruction of coroutines") {
  counting_hook hook;
  int destroyed_inside = 0;
  {
    loop l;
    l.set_hook(&hook);
    const auto waiting = [&](within) -> task<> {
      CHECK(hook.inside == 1);
      co_await kedge::sleep_for(1000h);
    };
    l.poll();
    CHECK(hook.entered == 1);
    l.spawn(waiting, within(hook, destroyed_inside));
    l.spawn(waiting, within(hook, destroyed_inside));
    const int spawned = hook.entered;
    l.run_once();
    CHECK(hook.entered == spawned + 1);
    CHECK_THROWS(l.run(fail("x")));
    CHECK(hook.entered == spawned + 2);
    CHECK(hook.inside == 0);
    CHECK(destroyed_inside == 0);
  }
  CHECK(hook.inside == 0);
  CHECK(destroyed_inside == 2);
}

TEST_CASE("the turn hook encloses the end of a failed task's closure") {
  for (const bool by_run : {false, true}) {
    CAPTURE(by_run);
    counting_hook hook;
    int inside = 0;
    loop l;
    l.set_hook(&hook);
    l.spawn([](const within&) { return fail("x"); }, within(hook, inside));
    if (by_run) {
      CHECK_THROWS(l.run(kedge::sleep_for(1000h)));
    } else {
      CHECK_THROWS_AS(drain(l), std::runtime_error);
    }
    CHECK(inside == 1);
    CHECK(hook.inside == 0);
  }
}

TEST_CASE("the turn hook encloses spawn() and cancel() between drives") {
  counting_hook hook;
  loop l;
  l.set_hook(&hook);
  int inside_spawn = 0;
  l.spawn([&] {
    inside_spawn = hook.inside;
    return kedge::sleep_for(1000h);
  });
  CHECK(inside_spawn == 1);
  CHECK(hook.inside == 0);
  const int before = hook.entered;
  l.cancel();
  CHECK(hook.entered == before + 1);
  CHECK(hook.inside == 0);
}

std::vector<std::string> attachment_log;
struct first_attachment {
  explicit first_attachment(kedge::reactor&) { attachment_log.emplace_back("first made"); }
  ~first_attachment() { attachment_log.emplace_back("first gone"); }
};
struct second_attachment {
  explicit second_attachment(kedge::reactor& r) : before(r.attachment<first_attachment>()) {
    attachment_log.emplace_back("second made");
  }
  ~second_attachment() { attachment_log.emplace_back("second gone"); }
  first_attachment& before;
};
struct logs_its_end {
  logs_its_end() = default;
  logs_its_end(logs_its_end&& other) noexcept : live(std::exchange(other.live, false)) {}
  logs_its_end& operator=(logs_its_end&&) = delete;
  ~logs_its_end() {
    if (live) attachment_log.emplace_back("coroutine gone");
  }
  bool live = true;
};

TEST_CASE("a loop has one attachment of each type, destroyed after its tasks, the latest first") {
  attachment_log.clear();
  {
    loop l;
    loop other;
    second_attachment& s = l.attachment<second_attachment>();
    CHECK(&s == &l.attachment<second_attachment>());
    CHECK(&s.before == &l.attachment<first_attachment>());
    CHECK(&other.attachment<first_attachment>() != &s.before);
    CHECK(attachment_log.size() == 3);
    attachment_log.clear();
    l.spawn([](logs_its_end) -> task<> { co_await kedge::sleep_for(1000h); }, logs_its_end());
    l.poll();
  }
  CHECK(attachment_log ==
        std::vector<std::string>{"first gone", "coroutine gone", "second gone", "first gone"});
}

}  // namespace
