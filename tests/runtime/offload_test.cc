#include "kedge/runtime/offload.h"

#include <doctest/doctest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "in_child_process.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/completion.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::errc;
using kedge::loop;
using kedge::offload;
using kedge::offload_detached;
using kedge::stop_flag;
using kedge::task;
using kedge::thread_pool;

// Holds a function of a pool until it is released or told to stop.
class held_call {
 public:
  // To be called by the function.
  void hold() {
    entered_.store(true);
    while (!released_.load()) std::this_thread::yield();
  }
  // Returns false if it was told to stop.
  bool hold(const stop_flag& stop) {
    entered_.store(true);
    while (!released_.load()) {
      if (stop.stop_requested()) return false;
      std::this_thread::yield();
    }
    return true;
  }
  void wait_until_entered() const {
    while (!entered_.load()) std::this_thread::yield();
  }
  bool has_entered() const { return entered_.load(); }
  void release() { released_.store(true); }

 private:
  std::atomic<bool> entered_{false};
  std::atomic<bool> released_{false};
};

// Runs a function on each thread of a pool of one: what was queued before has ended then.
void flush(const thread_pool& pool) {
  loop l;
  const auto nothing = [] {};
  l.run(offload(pool, nothing));
}

template <class Fn>
std::error_code code_of(Fn fn) {
  try {
    fn();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

TEST_CASE("offload runs its function on another thread, and gives what it returns") {
  loop l;
  const thread_pool pool(1);
  const auto here = std::this_thread::get_id();
  const auto body = [&]() -> task<int> {
    const auto elsewhere = [here] { return std::this_thread::get_id() != here; };
    CHECK(co_await offload(pool, elsewhere));
    CHECK(std::this_thread::get_id() == here);
    const auto nothing = [] {};
    co_await offload(pool, nothing);
    int object = 7;
    const auto reference = [&]() -> int& { return object; };
    int& same = co_await offload(pool, reference);
    CHECK(&same == &object);
    const auto move_only = [] { return std::make_unique<int>(42); };
    const std::unique_ptr<int> value = co_await offload(pool, move_only);
    co_return *value;
  };
  CHECK(l.run(body()) == 42);
}

TEST_CASE("without a pool, offload uses that of the process") {
  loop l;
  const auto f = [] { return 1; };
  CHECK(l.run(offload(f)) == 1);
  CHECK(l.run(offload_detached(f)) == 1);
  CHECK(&thread_pool::of_process() == &thread_pool::of_process());
}

TEST_CASE("what the function throws is thrown to its awaiter") {
  loop l;
  const thread_pool pool(1);
  const auto f = []() -> int { throw std::runtime_error("from the thread"); };
  const auto end = l.try_run(offload(pool, f));
  CHECK(end.failed());
  CHECK_THROWS_WITH(l.run(offload(pool, f)), "from the thread");
  CHECK_THROWS_WITH(l.run(offload_detached(pool, f)), "from the thread");
}

TEST_CASE("a pool of zero threads is refused") {
  CHECK_THROWS_WITH_AS(thread_pool(0), "kedge::thread_pool: a pool of zero threads",
                       std::invalid_argument);
}

TEST_CASE("a pool starts threads on demand up to its bound, and runs the rest in order") {
  loop l;
  const thread_pool pool(2);
  std::array<held_call, 4> calls;
  std::vector<int> order;
  const auto call = [&](int i) -> task<> {
    const auto f = [&calls, i] { calls[static_cast<std::size_t>(i)].hold(); };
    co_await offload(pool, f);
    order.push_back(i);
  };
  for (int i = 0; i < 4; ++i) l.spawn(call, i);
  l.poll();
  calls[0].wait_until_entered();
  calls[1].wait_until_entered();
  CHECK_FALSE(calls[2].has_entered());
  calls[1].release();
  calls[2].wait_until_entered();
  CHECK_FALSE(calls[3].has_entered());
  calls[2].release();
  calls[3].wait_until_entered();
  while (order.size() < 2) l.run_once();
  for (held_call& c : calls) c.release();
  while (l.size() != 0) l.run_once();
  CHECK(order[0] == 1);
  CHECK(order[1] == 2);
}

TEST_CASE("functions of one pool run at the same time, as many as it has threads") {
  loop l;
  const thread_pool pool(3);
  std::latch all_here(3);
  const auto meet = [&] { all_here.arrive_and_wait(); };
  l.run(kedge::when_all(offload(pool, meet), offload(pool, meet), offload(pool, meet)));
}

TEST_CASE("a cancelled call that is queued does not run") {
  loop l;
  const thread_pool pool(1);
  held_call first;
  const auto block = [&] { first.hold(); };
  std::atomic<bool> ran = false;
  const auto second = [&] { ran = true; };
  l.spawn(offload(pool, block));
  l.poll();
  first.wait_until_entered();
  SUBCASE("offload") {
    CHECK_FALSE(
        std::get<0>(l.run(kedge::when_any(offload(pool, second), kedge::yield()))).has_value());
  }
  SUBCASE("offload_detached") {
    CHECK_FALSE(std::get<0>(l.run(kedge::when_any(offload_detached(pool, second), kedge::yield())))
                    .has_value());
  }
  SUBCASE("destroyed instead") {
    loop other;
    other.spawn(offload(pool, second));
    other.poll();
  }
  first.release();
  flush(pool);
  CHECK_FALSE(ran);
  while (l.size() != 0) l.run_once();
}

TEST_CASE("a cancelled call that runs is asked to stop, and its caller waits until it has") {
  loop l;
  const thread_pool pool(1);
  held_call call;
  std::atomic<bool> over = false;
  const auto f = [&](const stop_flag& stop) {
    const bool whole = call.hold(stop);
    over = true;
    return whole;
  };
  std::optional<bool> value;
  bool over_before_end = false;
  const auto body = [&]() -> task<> {
    struct at_end {
      explicit at_end(const std::function<void()>& what) : fn(what) {}
      at_end(const at_end&) = delete;
      ~at_end() { fn(); }
      std::function<void()> fn;
    };
    const at_end guard([&] { over_before_end = over; });
    value = co_await offload(pool, f);
  };
  l.spawn(body);
  l.poll();
  call.wait_until_entered();
  l.cancel();
  while (l.size() != 0) l.run_once();
  CHECK_FALSE(value);
  CHECK(over_before_end);
}

TEST_CASE("a call that ends without having seen the stop gives its value") {
  loop l;
  const thread_pool pool(1);
  held_call call;
  const auto f = [&] {
    call.hold();
    return 3;
  };
  std::optional<int> value;
  const auto body = [&]() -> task<> { value = co_await offload(pool, f); };
  l.spawn(body);
  l.poll();
  call.wait_until_entered();
  l.cancel();
  l.poll();
  CHECK(l.size() == 1);
  call.release();
  while (l.size() != 0) l.run_once();
  CHECK(value == 3);
}

TEST_CASE("what a stopped call throws is dropped, and a time-out reports itself") {
  kedge::virtual_time time;
  loop l(time);
  const thread_pool pool(1);
  held_call call;
  const auto f = [&](const stop_flag& stop) {
    if (!call.hold(stop)) throw std::runtime_error("stopped");
  };
  std::optional<kedge::result<void>> got;
  const auto body = [&]() -> task<> { got = co_await kedge::with_timeout(1h, offload(pool, f)); };
  l.spawn(body);
  l.poll();
  call.wait_until_entered();
  time.advance(2h);
  while (!got) l.run_once();
  CHECK(got->error() == errc::timed_out);
}

TEST_CASE("a call that is destroyed while it runs blocks its loop until it has returned") {
  const thread_pool pool(1);
  held_call call;
  std::atomic<bool> over = false;
  const auto f = [&](const stop_flag& stop) {
    call.hold(stop);
    over = true;
  };
  {
    loop l;
    l.spawn(offload(pool, f));
    l.poll();
    call.wait_until_entered();
  }
  CHECK(over);
}

TEST_CASE("a call that has returned and is destroyed before its turn leaves nothing behind") {
  const thread_pool pool(1);
  const auto value = std::make_shared<int>(1);
  {
    loop l;
    const auto f = [value] { return value; };
    l.spawn(offload(pool, f));
    l.poll();
    flush(pool);
  }
  CHECK(value.use_count() == 1);
}

TEST_CASE("a detached call that is cancelled while it runs ends at once, and drops its result") {
  const auto value = std::make_shared<int>(1);
  const auto call = std::make_shared<held_call>();
  std::optional<thread_pool> pool(std::in_place, 1);
  const auto f = [value, call] {
    call->hold();
    return value;
  };
  loop l;
  SUBCASE("cancelled") {
    l.spawn(offload_detached(*pool, f));
    l.poll();
    call->wait_until_entered();
    l.cancel();
    l.poll();
    CHECK(l.size() == 0);
  }
  SUBCASE("destroyed") {
    loop other;
    other.spawn(offload_detached(*pool, f));
    other.poll();
    call->wait_until_entered();
  }
  call->release();
  pool.reset();
  l.poll();
  CHECK(value.use_count() == 2);  // here and in f
}

TEST_CASE("a detached call is asked to stop when nobody waits for it") {
  thread_pool pool(1);
  const auto call = std::make_shared<held_call>();
  const auto seen = std::make_shared<std::atomic<bool>>(false);
  {
    loop l;
    const auto f = [call, seen](const stop_flag& stop) { *seen = !call->hold(stop); };
    l.spawn(offload_detached(pool, f));
    l.poll();
    call->wait_until_entered();
  }
  flush(pool);
  CHECK(*seen);
}

TEST_CASE("a destroyed pool waits for what runs, and ends what is queued with errc::closed") {
  loop l;
  std::optional<thread_pool> pool(std::in_place, 1);
  held_call first;
  const auto block = [&] {
    first.hold();
    return 1;
  };
  std::optional<int> value;
  std::error_code queued, late;
  const auto running = [&]() -> task<> { value = co_await offload(*pool, block); };
  const auto waiting = [&]() -> task<> {
    try {
      co_await offload(*pool, block);
    } catch (const std::system_error& e) {
      queued = e.code();
    }
  };
  l.spawn(running);
  l.spawn(waiting);
  auto unawaited = offload(*pool, block);
  l.poll();
  first.wait_until_entered();
  std::thread closing([&] { pool.reset(); });
  while (!queued) l.run_once();
  CHECK(queued == errc::closed);
  CHECK(!value);
  first.release();
  closing.join();
  while (l.size() != 0) l.run_once();
  CHECK(value == 1);
  late = code_of([&] { l.run(std::move(unawaited)); });
  CHECK(late == errc::closed);
}

TEST_CASE("the message of a queued call whose pool is gone names offload") {
  loop l;
  std::optional<thread_pool> pool(std::in_place, 1);
  const auto f = [] {};
  auto unawaited = offload(*pool, f);
  pool.reset();
  CHECK_THROWS_WITH_AS(l.run(std::move(unawaited)), "kedge::thread_pool: closed",
                       std::system_error);
}

TEST_CASE("signals are blocked in the threads of a pool, but for faults") {
  loop l;
  const thread_pool pool(1);
  const auto f = [] {
    sigset_t blocked;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    return sigismember(&blocked, SIGINT) == 1 && sigismember(&blocked, SIGCHLD) == 1 &&
           sigismember(&blocked, SIGSEGV) == 0;
  };
  CHECK(l.run(offload(pool, f)));
  sigset_t here;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &here);
  CHECK(sigismember(&here, SIGINT) == 0);
}

TEST_CASE("several loops on several threads share a pool and pass work to each other") {
  const thread_pool pool(2);
  constexpr int loops = 3, rounds = 100;
  std::atomic<int> sum = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < loops; ++t) {
    threads.emplace_back([&] {
      loop l;
      const auto body = [&]() -> task<> {
        for (int i = 0; i < rounds; ++i) {
          kedge::completion<int> answer;
          // A function of the pool that completes what the loop awaits besides it.
          const auto f = [i, to = answer.get_completer()] { return to.complete(i); };
          auto call = offload(pool, f);
          const auto [given, value] = co_await kedge::when_all(std::move(call), answer.wait());
          CHECK(given);
          sum += value.value();
        }
      };
      l.run(body());
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(sum == loops * (rounds - 1) * rounds / 2);
}

TEST_CASE("loops end while their calls are queued, run and return") {
  const thread_pool pool(2);
  std::atomic<int> ran = 0;
  for (int i = 0; i < 200; ++i) {
    CAPTURE(i);
    int local = 0;  // gone after the loop: no call may run then
    loop l;
    const auto attached = [&local] { ++local; };
    const auto owning = [count = &ran] { ++*count; };
    for (int n = 0; n < 3; ++n) l.spawn(offload_detached(pool, owning));
    l.spawn(offload(pool, attached));
    l.poll();
    if (i % 2 == 0) l.cancel();
    if (i % 3 == 0) l.poll();
  }
  loop l;
  const auto nothing = [] {};
  l.run(kedge::when_all(offload(pool, nothing), offload(pool, nothing)));
  CHECK(ran <= 600);
}

TEST_CASE("a dump names a call") {
  loop l;
  const thread_pool pool(1);
  held_call call;
  const auto f = [&] { call.hold(); };
  l.spawn(offload(pool, f));
  l.poll();
  std::ostringstream out;
  l.dump(out);
  CHECK(out.str().find("a function on another thread") != std::string::npos);
  call.release();
  while (l.size() != 0) l.run_once();
}

// --- Processes -----------------------------------------------------------------------------------

// A child of a process with threads runs only the thread that forked. ThreadSanitizer lets such a
// child make no thread.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEDGE_CHILD_MAKES_THREADS 0
#endif
#endif
#ifndef KEDGE_CHILD_MAKES_THREADS
#define KEDGE_CHILD_MAKES_THREADS 1
#endif

TEST_CASE("in a forked child the parent's pool is refused, and nothing hangs") {
  std::optional<loop> l(std::in_place);
  std::optional<thread_pool> pool(std::in_place, 1);
  held_call call;
  const auto f = [&] { call.hold(); };
  const auto nothing = [] {};
  l->spawn(offload(*pool, f));
  l->spawn(offload(*pool, nothing));
  l->poll();
  call.wait_until_entered();
  const int status = kedge::status_of_child([&] {
    {
      loop own;
      if (code_of([&] { own.run(offload(*pool, nothing)); }) != errc::forked) return 1;
    }
    l.reset();  // one call runs in the parent, one is queued there
    pool.reset();
    return 0;
  });
  CHECK(status == 0);
  call.release();
  while (l->size() != 0) l->run_once();
}

#if KEDGE_CHILD_MAKES_THREADS
TEST_CASE("a forked child has a pool of the process of its own") {
  loop l;
  const auto f = [] { return 5; };
  CHECK(l.run(offload(f)) == 5);
  CHECK(kedge::status_of_child([&] {
          loop own;
          return own.run(offload(f)) == 5 ? 0 : 1;
        }) == 0);
}

TEST_CASE("exit() with calls that run and are queued ends the process") {
  SUBCASE("on the main thread, with the pool of the process") {
    const int status = kedge::status_of_child([] {
      static held_call call;
      static loop l;
      const auto f = [] { call.hold(); };
      l.spawn(offload_detached(f));
      l.poll();
      call.wait_until_entered();
      std::exit(7);
      return 0;
    });
    CHECK(WEXITSTATUS(status) == 7);
  }
  SUBCASE("in a function of a static pool") {
    const int status = kedge::status_of_child([] {
      static const thread_pool pool(1);
      loop l;
      const auto f = [] { std::exit(8); };
      l.run(offload(pool, f));
      return 0;
    });
    CHECK(WEXITSTATUS(status) == 8);
  }
}
#endif

#if KEDGE_CHILD_MAKES_THREADS
// Lets the process make no further thread. Returns false where the limit is not one of threads.
bool forbid_threads() {
  if (::getuid() == 0 && ::setuid(65534) != 0) return false;  // root has no limit
  rlimit none{};
  if (::getrlimit(RLIMIT_NPROC, &none) != 0) return false;
  none.rlim_cur = 0;
  if (::setrlimit(RLIMIT_NPROC, &none) != 0) return false;
  pthread_t thread;
  const auto nothing = [](void*) -> void* { return nullptr; };
  if (::pthread_create(&thread, nullptr, nothing, nullptr) != 0) return true;
  ::pthread_join(thread, nullptr);
  return false;
}

TEST_CASE("a pool that can have no thread says so, and one that has a thread queues") {
  constexpr int skipped = 77;
  const int status = kedge::status_of_child([] {
    const thread_pool with(2), without(2);
    held_call call;
    const auto block = [&] { call.hold(); };
    const auto f = [] { return 1; };
    loop l;
    l.spawn(offload(with, block));
    l.poll();
    call.wait_until_entered();
    const bool is_limited = forbid_threads();
    std::optional<int> queued;
    const auto queue = [&]() -> task<> { queued = co_await offload(with, f); };
    l.spawn(queue);
    l.poll();
    loop other;
    const std::error_code refused = code_of([&] { other.run(offload(without, f)); });
    call.release();
    while (l.size() != 0) l.run_once();
    if (!is_limited) return skipped;
    if (queued != 1) return 1;
    return refused == std::errc::resource_unavailable_try_again ? 0 : 2;
  });
  if (WEXITSTATUS(status) == skipped) {
    MESSAGE("this system does not limit threads");
  } else {
    CHECK(status == 0);
  }
}
#endif

}  // namespace
