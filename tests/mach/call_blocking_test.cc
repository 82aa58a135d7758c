// call_blocking(): replies, failures before and after the send, time-outs, and interruptions.
#include "kedge/mach/call_blocking.h"

#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/notify.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "blocked_threads.h"
#include "kedge/mach/error.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/space.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "space_names.h"
#include "take_message.h"
#include "tests/runtime/in_child_process.h"

namespace kedge::mach {
namespace {

using namespace std::chrono_literals;
using outcome = result<received, send_failure>;

// The kernel's snapshot shows when a thread is blocked.
const auto linux_only = doctest::skip(!kernel::has_many_tasks());

void fill(const receive_right& port) {
  const send_right to = port.make_send();
  while (try_send(to, message(0))) {
  }
}

// Runs `call` on a thread of its own. The destructor joins it.
class caller {
 public:
  template <class F>
  explicit caller(F call) : thread_([this, call] { made_.emplace(call()); }) {}
  outcome& join() {
    thread_.join();
    return *made_;
  }

 private:
  std::optional<outcome> made_;
  std::thread thread_;
};

// The kernel's clock, which the test moves. One thread waits by it.
class moved_clock {
 public:
  moved_clock() { REQUIRE(kernel::use_clock(read, this)); }
  ~moved_clock() { kernel::use_clock(nullptr, nullptr); }

  void move(std::chrono::nanoseconds d) {
    now_ += static_cast<std::uint64_t>(d.count());
    kernel::clock_moved();
  }
  // Waits until the thread sleeps in its latest trap, with a deadline by the present time. The
  // kernel counts a thread as blocked before it reads the clock for the deadline, and after the
  // trap has timed out. So the thread must also have read the clock more often than a call does
  // between two sleeps: only a thread that sleeps reads it at each clock_moved().
  void wait_for_blocked(blocked_threads wanted) {
    constexpr int more_than_between_sleeps = 32;
    for (readings_ = 0; readings_ < more_than_between_sleeps;) {
      kernel::clock_moved();
      std::this_thread::yield();
    }
    mach::wait_for_blocked(wanted);
  }

 private:
  static std::uint64_t read(void* of) noexcept {
    moved_clock& self = *static_cast<moved_clock*>(of);
    ++self.readings_;
    return self.now_;
  }

  std::atomic<std::uint64_t> now_{1'000'000'000'000};
  std::atomic<int> readings_{0};
};

std::error_code code_of(const outcome& o) {
  return o ? std::error_code() : o.error().code();
}

task<> square(const receive_right& requests, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    received request = (co_await requests.receive()).value();
    const auto n = request.read<std::uint32_t>().value();
    CHECK_FALSE(reply(request, message(2, n * n)));
  }
}

}  // namespace

TEST_CASE("100 blocking calls get their replies, and the thread's end leaves no port") {
  loop l;
  const receive_right requests = receive_right::make();
  const send_right service = requests.make_send();
  const std::size_t before = names_in_space();
  std::size_t during = 0;
  std::thread thread([&] {
    for (std::uint32_t n = 0; n < 100; ++n) {
      const outcome o = n % 2 == 0 ? call_blocking(service, message(1, n))
                                   : call_blocking(service, message(1, n), 24h);
      CAPTURE(n);
      REQUIRE(o);
      CHECK(o->read<std::uint32_t>().value() == n * n);
    }
    during = names_in_space();
  });
  l.run(square(requests, 100));
  thread.join();
  CHECK(during == before + 1);
  CHECK(names_in_space() == before);
}

TEST_CASE("a blocking call to a dead service hands its request back, and the next call works") {
  loop l;
  const receive_right requests = receive_right::make(), carried = receive_right::make();
  const send_right service = requests.make_send();
  send_right dead = receive_right::make().make_send();
  caller c([&] {
    outcome failed = call_blocking(dead, message(1, "kept", carried.make_send()));
    CHECK(code_of(failed) == errc::peer_died);
    message m = std::move(failed.error()).message();
    CHECK(m.bytes().size() == 4);
    CHECK_FALSE(m.take_reply());
    CHECK(m.take_send(0));
    CHECK(code_of(call_blocking(send_right(), message(7))) == errc::empty_right);
    return call_blocking(service, message(1, std::uint32_t{5}));
  });
  l.run(square(requests, 1));
  CHECK(c.join()->read<std::uint32_t>() == 25u);
  CHECK(send_references(carried.name()) == 0);
}

TEST_CASE("a blocking call whose service destroys the request gives no_reply" * linux_only) {
  const std::size_t before = names_in_space();
  {
    receive_right requests = receive_right::make(1);
    const send_right service = requests.make_send();
    SUBCASE("after it has received it") {
      caller c([&] { return call_blocking(service, message(1)); });
      wait_for_blocked({.receivers = 1});
      take(requests).clear();
      CHECK(code_of(c.join()) == errc::no_reply);
    }
    SUBCASE("by its death, with the request in its queue") {
      caller c([&] { return call_blocking(service, message(1)); });
      wait_for_blocked({.receivers = 1});
      requests.destroy();
      CHECK(code_of(c.join()) == errc::no_reply);
    }
    SUBCASE("by its death, while the request waits for room") {
      fill(requests);
      caller c([&] { return call_blocking(service, message(1)); });
      wait_for_blocked({.senders = 1});
      requests.destroy();
      CHECK(code_of(c.join()) == errc::no_reply);
    }
  }
  CHECK(names_in_space() == before);
}

TEST_CASE("a reply with the id MACH_NOTIFY_SEND_ONCE from a task is an ordinary reply" *
          linux_only) {
  const receive_right requests = receive_right::make();
  const send_right service = requests.make_send();
  caller c([&] { return call_blocking(service, message(1)); });
  wait_for_blocked({.receivers = 1});
  received request = take(requests);
  CHECK_FALSE(reply(request, message(MACH_NOTIFY_SEND_ONCE)));
  CHECK(c.join()->id() == MACH_NOTIFY_SEND_ONCE);
}

TEST_CASE("a blocking call without time neither waits for room nor for the reply") {
  const receive_right requests = receive_right::make(1), carried = receive_right::make();
  const send_right service = requests.make_send();
  std::thread([&] {
    const std::size_t before = names_in_space();
    // Sent, and not answered in time.
    outcome unanswered = call_blocking(service, message(1), 0s);
    CHECK(code_of(unanswered) == kedge::errc::timed_out);
    CHECK_FALSE(unanswered.error().message());
    CHECK(names_in_space() == before);
    // No room.
    outcome unsent = call_blocking(service, message(2, carried.make_send()), 0s);
    CHECK(code_of(unsent) == kedge::errc::timed_out);
    CHECK(unsent.error().message().id() == 2);
    CHECK_FALSE(unsent.error().message().take_reply());
    CHECK(send_references(carried.name()) == 1);
    unsent.error().message().clear();
    CHECK(send_references(carried.name()) == 0);
    CHECK(send_references(service.name()) == 1);
    // The idle reply port.
    CHECK(names_in_space() == before + 1);
    // The late reply reaches no port.
    received late = take(requests);
    CHECK(late.id() == 1);
    CHECK(reply(late, message(101)) == errc::peer_died);
    late.clear();
    outcome next = call_blocking(service, message(3), 0s);
    CHECK(code_of(next) == kedge::errc::timed_out);
    CHECK_FALSE(next.error().message());
    CHECK(names_in_space() == before);
  }).join();
}

TEST_CASE("the time-out bounds the waits for room and for the reply together" * linux_only) {
  moved_clock clock;
  const receive_right requests = receive_right::make(1);
  const send_right service = requests.make_send();
  SUBCASE("no room: the request comes back") {
    fill(requests);
    caller c([&] { return call_blocking(service, message(1), 10s); });
    clock.wait_for_blocked({.senders = 1});
    clock.move(5s);  // the trap that does both has had half of the time
    clock.wait_for_blocked({.senders = 1});
    clock.move(5s);
    outcome& o = c.join();
    CHECK(code_of(o) == kedge::errc::timed_out);
    CHECK(o.error().message().id() == 1);
  }
  SUBCASE("room comes late: the reply has what is left") {
    fill(requests);
    caller c([&] { return call_blocking(service, message(1), 10s); });
    clock.wait_for_blocked({.senders = 1});
    clock.move(4s);
    take(requests).clear();
    clock.wait_for_blocked({.receivers = 1});
    clock.move(6s);
    outcome& o = c.join();
    CHECK(code_of(o) == kedge::errc::timed_out);
    CHECK_FALSE(o.error().message());
  }
  SUBCASE("a reply in the second half of the time arrives") {
    caller c([&] { return call_blocking(service, message(1), 10s); });
    clock.wait_for_blocked({.receivers = 1});
    clock.move(9s);
    clock.wait_for_blocked({.receivers = 1});
    received request = take(requests);
    CHECK_FALSE(reply(request, message(2)));
    CHECK(c.join()->id() == 2);
  }
}

TEST_CASE("a blocking call takes a reply of any size up to its bound" * linux_only) {
  const receive_right requests = receive_right::make(), carried = receive_right::make();
  const send_right service = requests.make_send();
  const auto ask = [&](std::size_t size, std::size_t max) {
    caller c([&] { return call_blocking(service, message(1), 24h, max); });
    wait_for_blocked({.receivers = 1});
    received request = take(requests);
    CHECK_FALSE(reply(request, message(2, std::string(size, 'x'), carried.make_send())));
    return std::move(c.join());
  };
  const std::size_t before = names_in_space();
  for (const std::size_t size : {10u, 400u, 500u, 60'000u}) {
    CAPTURE(size);
    const outcome o = ask(size, default_max_message);
    REQUIRE(o);
    CHECK(o->text().size() == size);
  }
  CHECK(ask(100'000, 200'000)->text().size() == 100'000);
  CHECK(code_of(ask(100'000, default_max_message)) == errc::message_too_large);
  CHECK(code_of(ask(100, 100)) == errc::message_too_large);
  CHECK(send_references(carried.name()) == 0);
  CHECK(names_in_space() == before);
}

TEST_CASE("a signal handler does not end a blocking call" * linux_only) {
  static std::atomic<int> handled{0};
  struct sigaction action{};
  struct sigaction former{};
  action.sa_handler = [](int) { ++handled; };
  REQUIRE(::sigaction(SIGUSR1, &action, &former) == 0);
  const receive_right requests = receive_right::make(1);
  const send_right service = requests.make_send();
  fill(requests);
  std::optional<outcome> made;
  std::thread thread([&] { made.emplace(call_blocking(service, message(1), 24h)); });
  const auto interrupt = [&](blocked_threads at) {
    wait_for_blocked(at);
    const int before = handled;
    REQUIRE(::pthread_kill(thread.native_handle(), SIGUSR1) == 0);
    while (handled == before) std::this_thread::yield();
    wait_for_blocked(at);
  };
  interrupt({.senders = 1});
  take(requests).clear();
  interrupt({.receivers = 1});
  received request = take(requests);
  CHECK_FALSE(reply(request, message(2)));
  thread.join();
  REQUIRE(*made);
  CHECK((*made)->id() == 2);
  ::sigaction(SIGUSR1, &former, nullptr);
}

TEST_CASE("a thread calls in several spaces, and refuses a right of another one" * linux_only) {
  const std::size_t before = names_in_space();
  space other;
  const auto names_in_other = [&] {
    const scoped_space inside(other);
    return names_in_space();
  };
  const std::size_t before_in_other = names_in_other();
  std::thread([&] {
    const receive_right here = receive_right::make();
    const send_right to_here = here.make_send();
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      // A call that is given up leaves no port; one that was refused leaves an idle one.
      CHECK(code_of(call_blocking(send_right(), message(1))) == errc::empty_right);
      const scoped_space inside(other);
      CHECK(code_of(call_blocking(to_here, message(1))) == errc::wrong_space);
      const receive_right there = receive_right::make();
      CHECK(code_of(call_blocking(there.make_send(), message(1), 0s)) == kedge::errc::timed_out);
    }
    const scoped_space inside(other);
    CHECK(code_of(call_blocking(send_right(), message(1))) == errc::empty_right);
  }).join();
  CHECK(names_in_space() == before);
  CHECK(names_in_other() == before_in_other);
}

TEST_CASE("a forked child calls by a reply port of its own") {
  CHECK(code_of(call_blocking(send_right(), message(1))) == errc::empty_right);
  const program_end end = in_child_process([] {
    const receive_right requests = receive_right::make();
    const send_right service = requests.make_send();
    std::thread thread([&] {
      for (received request; !request;) {
        std::size_t expected = 0;
        if (try_receive(requests.name(), expected, request) == MACH_MSG_SUCCESS) {
          reply(request, message(2));
        } else {
          std::this_thread::yield();
        }
      }
    });
    const outcome o = call_blocking(service, message(1));
    thread.join();
    std::_Exit(o && o->id() == 2 ? 0 : 1);
  });
  CHECK(end.status == 0);
  CHECK(end.standard_error.empty());
}

}  // namespace kedge::mach
