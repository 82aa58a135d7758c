// What a world finds wrong, how it says so, and what a test can do to its processes.
#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/mach_time.h>
#include <mach/notify.h>
#include <servers/bootstrap.h>
#include <sys/event.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <source_location>
#include <stdexcept>
#include <string>

#include "has.h"
#include "kedge/mach/call.h"
#include "kedge/mach/message.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/tools/harness/event_log.h"
#include "kedge/tools/harness/explore.h"
#include "kedge/tools/harness/world.h"

namespace {

namespace harness = kedge::harness;
namespace faults = kedge::harness::faults;
using harness::world;
using kedge::task;
using namespace std::chrono_literals;

constexpr mach_msg_id_t ask = 1;
constexpr mach_msg_id_t stop = 2;
constexpr mach_msg_id_t answer = 101;

struct buffer {
  mach_msg_header_t header{};
  std::int32_t number = 0;
  std::byte rest[512];
};

mach_port_t look_up(const char* name) {
  mach_port_t found = MACH_PORT_NULL;
  while (bootstrap_look_up(bootstrap_port, name, &found) != KERN_SUCCESS) usleep(1000);
  return found;
}

kern_return_t send_plain(mach_port_t to, mach_msg_id_t id, mach_port_t reply_to = MACH_PORT_NULL,
                         mach_msg_option_t options = 0, std::int32_t number = 0) {
  buffer m;
  m.header.msgh_bits = MACH_MSGH_BITS(
      MACH_MSG_TYPE_COPY_SEND, reply_to != MACH_PORT_NULL ? MACH_MSG_TYPE_MAKE_SEND_ONCE : 0u);
  m.header.msgh_size = sizeof m.header + sizeof m.number;
  m.header.msgh_remote_port = to;
  m.header.msgh_local_port = reply_to;
  m.header.msgh_id = id;
  m.number = number;
  return mach_msg(&m.header, MACH_SEND_MSG | options, m.header.msgh_size, 0, MACH_PORT_NULL, 0,
                  MACH_PORT_NULL);
}

// A service in C: answers each `ask`, until `stop`. `forgets`: it keeps the right to answer.
[[gnu::noinline]] int serve(bool forgets) {
  mach_port_t port = MACH_PORT_NULL;
  if (bootstrap_check_in(bootstrap_port, "service", &port) != KERN_SUCCESS) return 1;
  for (;;) {
    buffer m;
    if (mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, port, 0, MACH_PORT_NULL) != 0) return 2;
    if (m.header.msgh_id == stop) return 0;
    if (m.header.msgh_id != ask || forgets) continue;
    m.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND_ONCE, 0);
    m.header.msgh_size = sizeof m.header + sizeof m.number;
    m.header.msgh_local_port = MACH_PORT_NULL;
    m.header.msgh_id = answer;
    mach_msg(&m.header, MACH_SEND_MSG, m.header.msgh_size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
  }
}

struct service {
  bool forgets = false;
  int operator()() const { return serve(forgets); }
};

// Returns mach_msg()'s code.
[[gnu::noinline]] int call_service(mach_port_t to, mach_port_t reply,
                                   mach_msg_timeout_t limit = 0) {
  buffer m;
  m.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE);
  m.header.msgh_size = sizeof m.header + sizeof m.number;
  m.header.msgh_remote_port = to;
  m.header.msgh_local_port = reply;
  m.header.msgh_id = ask;
  m.number = 42;
  return mach_msg(&m.header, MACH_SEND_MSG | MACH_RCV_MSG | (limit != 0 ? MACH_RCV_TIMEOUT : 0),
                  m.header.msgh_size, sizeof m, reply, limit, MACH_PORT_NULL);
}

mach_port_t make_port() {
  mach_port_t port = MACH_PORT_NULL;
  mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port);
  return port;
}

int ask_once() {
  return call_service(look_up("service"), make_port());
}

// The report of the failure that the test has in this one world; empty: none.
template <class Test>
std::string report_of(Test test, std::uint64_t seed = 7) {
  world w(seed);
  w.name(ask, "ask");
  w.name(answer, "answer");
  try {
    test(w);
    w.finish();
  } catch (const harness::failure& f) {
    return f.what();
  }
  return {};
}

TEST_CASE("the report of a deadlock says who waits for what, where, and what led there") {
  const std::string report = report_of([](world& w) {
    w.start("service", service{.forgets = true});
    w.start("client", ask_once);
    w.calm();
  });
  CHECK(has(report, "DEADLOCK: \"client\" waits for ever"));
  CHECK(has(report, "\n  seed 7\n"));
  CHECK(has(report, "client     reply on client.1 (0 of 5) since step "));
  CHECK(has(report, ", call_service()"));
  CHECK(has(report, "service    next request on service.1 (0 of 5) since step "));
  CHECK(has(report, ", serve()"));
  CHECK(has(report, "-> service.1   ask  carries reply client.1\n"));
  CHECK(has(report, "<- client      ask  on service.1\n"));
  CHECK(has(report, "  service    send once client.1, received at step "));
}

task<> ask_service() {
  const auto to = kedge::mach::send_right::adopt(look_up("service"));
  (void)co_await kedge::mach::call(to, kedge::mach::message(ask));
}
constexpr int line_of_call = std::source_location::current().line() - 2;

TEST_CASE("the report names the lines at which the tasks of a loop wait") {
  const std::string report = report_of([](world& w) {
    w.start("service", service{.forgets = true});
    w.start("client", [] {
      kedge::loop l;
      l.run(ask_service());
      return 0;
    });
    w.calm();
  });
  CHECK(has(report, "client     an event of its loop since step "));
  CHECK(has(report, "judging_test.cc:" + std::to_string(line_of_call)));
}

TEST_CASE("a report leaves out events that had no part in the failure, unless it is to be full") {
  const auto test = [](world& w) {
    w.start("service", service{.forgets = true});
    w.start("client", ask_once);
    w.start("talker", [] {
      const mach_port_t port = make_port();
      mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND);
      return static_cast<int>(send_plain(port, 55));
    });
    w.calm();
  };
  const auto explored = [&] {
    try {
      harness::explore(test, {.seeds = 1, .forks = false});
    } catch (const harness::failure& f) {
      return std::string(f.what());
    }
    return std::string();
  };
  CHECK(explored().find("talker #") == std::string::npos);
  setenv("KEDGE_FULL", "1", 1);
  const std::string full = explored();
  unsetenv("KEDGE_FULL");
  CHECK(has(full, "talker #2"));
}

TEST_CASE("a right that a service has not had at its first wait is a leak, with its step") {
  const auto run = [](bool keeps) {
    return report_of([keeps](world& w) {
      w.start("service", service{.forgets = keeps});
      w.start("client", [] {
        send_plain(look_up("service"), ask, make_port());
        usleep(1000);  // the service receives the message
        return 0;
      });
      w.calm();
    });
  };
  CHECK(run(false) == "");
  const std::string report = run(true);
  CHECK(has(report, "LEAK: "));
  CHECK(has(report, "  service    dead name client.1, received at step "));
}

TEST_CASE("a guard exception fails the run, unless the test asks for it") {
  const auto releases_twice = [] {
    const mach_port_t port = make_port();
    mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1);
    return mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1) == 0 ? 1 : 0;
  };
  const std::string report = report_of([&](world& w) { w.start("wrong", releases_twice); });
  CHECK(has(report, "\n  wrong #"));
  CHECK(has(report, ": INVALID_NAME, name "));
  const std::string asked = report_of([&](world& w) {
    auto& wrong = w.start("wrong", releases_twice);
    w.calm();
    CHECK(wrong.guard_exceptions().size() == 1);
  });
  CHECK(asked == "");
}

TEST_CASE("a livelock is told with the calls that repeat") {
  const std::string report = report_of([](world& w) {
    w.limit_steps(500);
    w.start("poller", [] { return look_up("nobody") == MACH_PORT_NULL ? 1 : 0; });
    w.calm();
  });
  CHECK(has(report, "LIVELOCK: no rest after 500 steps"));
  CHECK(has(report, "times poller calls bootstrap_look_up()"));
}

TEST_CASE("an exception that leaves main fails the run") {
  const std::string report = report_of([](world& w) {
    w.start("thrower", []() -> int { throw std::runtime_error("no more"); });
    w.calm();
  });
  CHECK(has(report, "UNCAUGHT: \"thrower\" was ended by an exception: no more"));
}

TEST_CASE("messages are matched by ids, bytes, senders and order") {
  const std::string report = report_of([](world& w) {
    auto& s = w.start("service", service{});
    auto& c = w.start("client", ask_once);
    w.calm();
    CHECK(c.status() == 0);
    CHECK(c.sent(ask).with_data(std::int32_t{42}).count() == 1);
    CHECK(c.sent(ask).with_data(std::int32_t{43}).count() == 0);
    CHECK(s.sent(answer).to(c).count() == 1);
    CHECK(before(c.sent(ask), s.sent(answer)));
    CHECK(!before(s.sent(answer), s.received(ask)));
    w.expect(s.received(ask).from(c).exactly(1));
    w.expect(s.sent(answer).exactly(2));
  });
  CHECK(has(report, "NOT SO: exactly 2 times message answer from service"));
  CHECK(has(report, "\n  there were 1"));
}

TEST_CASE("a process learns of the death of another one, and the report tells who does not") {
  const std::string report = report_of([](world& w) {
    auto& dying = w.start("dying", service{});
    auto& watcher = w.start("watcher", [] {
      const mach_port_t right = look_up("service");
      const mach_port_t notify = make_port();
      mach_port_t previous = MACH_PORT_NULL;
      mach_port_request_notification(mach_task_self(), right, MACH_NOTIFY_DEAD_NAME, 0, notify,
                                     MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
      buffer m;
      return mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, notify, 0, MACH_PORT_NULL);
    });
    auto& other = w.start("other", [] {
      look_up("service");
      buffer m;
      return mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, make_port(), 0, MACH_PORT_NULL);
    });
    w.run_to_rest();
    dying.kill();
    w.until(watcher.notified_of_death(dying));
    CHECK(watcher.notified_of_death(other).count() == 0);
    CHECK(other.notified_of_death(dying).count() == 0);
    w.calm();
  });
  CHECK(has(report, "DEADLOCK: \"other\" waits for ever"));
  CHECK(has(report, "watcher is notified"));
  CHECK(has(report, "no notification is armed in other"));
}

TEST_CASE("until() says what has happened instead of what it waits for") {
  CHECK(has(report_of([](world& w) {
              auto& s = w.start("service", service{});
              w.until(s.received(ask));
            }),
            "AT REST before: message ask to service, received"));
  CHECK(has(report_of([](world& w) {
              auto& s = w.start("service", service{});
              w.until(s.received(ask));
            }),
            "\n  nobody has sent a message ask"));
  const std::string ended = report_of([](world& w) {
    auto& quick = w.start("quick", [] { return 0; });
    w.start("poller", [] { return look_up("nobody") == MACH_PORT_NULL ? 1 : 0; });
    w.until(quick.sent(ask));
  });
  CHECK(has(ended, "IT CANNOT HAPPEN ANY MORE: message ask from quick"));
}

// --- Faults --------------------------------------------------------------------------------------

TEST_CASE("the test makes one call fail, and a call that cannot fail so is told") {
  const auto sender = [](world& w) -> harness::process& {
    w.start("service", service{});
    auto& client = w.start("client", [] {
      const mach_port_t to = look_up("service");
      return send_plain(to, 55, MACH_PORT_NULL, MACH_SEND_TIMEOUT) == MACH_SEND_TIMED_OUT ? 1 : 0;
    });
    return client;
  };
  const auto run = [&](harness::fault_set f, std::uint32_t call) {
    return report_of([&](world& w) {
      auto& client = sender(w);
      w.until(w["service"].started_waiting());
      w.fail(client, f, client.calls() + call);
      w.calm();
      CHECK(client.status() == (call == 2 ? 1 : 0));
    });
  };
  CHECK(run(faults::full_queue, 2) == "");
  CHECK(has(run(faults::full_queue, 1),
            "FAULT NOT LEGAL: full queue cannot happen in call 2 of \"client\", which is "
            "bootstrap_look_up()"));
  CHECK(has(run(faults::full_queue, 9),
            "FAULT NOT LEGAL: full queue was planned for call 10 of \"client\", which has "));
}

// Runs 60 seeds, and returns in how many the client ended with the status.
int seeds_with(int status, harness::fault_set may_happen, int (*client)()) {
  int count = 0;
  harness::explore(
      [&](world& w) {
        w.start("service", service{});
        auto& c = w.start("client", client);
        if (!may_happen.is_empty()) w.may_fail(c, may_happen);
        w.run();
        count += c.status() == status ? 1 : 0;
        (void)c.guard_exceptions();
      },
      {.seeds = 60, .forks = false});
  return count;
}

TEST_CASE("a seed lets the faults that it may happen") {
  const auto impatient = [] {
    return call_service(look_up("service"), make_port(), 1000) == MACH_RCV_TIMED_OUT ? 3 : 0;
  };
  CHECK(seeds_with(3, {}, impatient) == 0);
  CHECK(seeds_with(3, faults::early_timeout, impatient) > 0);

  const auto timed = [] {
    const mach_port_t to = look_up("service");
    const std::uint64_t begin = mach_absolute_time();
    for (int i = 0; i < 8; ++i) send_plain(to, 55);
    return mach_absolute_time() != begin ? 3 : 0;
  };
  CHECK(seeds_with(3, {}, timed) == 0);
  CHECK(seeds_with(3, faults::suspended, timed) > 0);

  const auto opening = [] {
    const mach_port_t to = look_up("service");
    for (int i = 0; i < 8; ++i) {
      send_plain(to, 55);
      const int queue = kqueue();
      if (queue < 0) return 3;
      close(queue);
    }
    return 0;
  };
  CHECK(seeds_with(3, {}, opening) == 0);
  CHECK(seeds_with(3, faults::no_descriptors, opening) > 0);

  const auto sending = [] {
    const mach_port_t to = look_up("service");
    for (int i = 0; i < 8; ++i) {
      if (send_plain(to, 55) == MACH_SEND_NO_BUFFER) return 3;
    }
    return 0;
  };
  CHECK(seeds_with(3, {}, sending) == 0);
  CHECK(seeds_with(3, faults::no_buffer, sending) > 0);
}

TEST_CASE("a slow receiver has longer queues") {
  const auto lengths = [](bool is_slow) {
    std::size_t sum = 0;
    harness::explore(
        [&](world& w) {
          auto& s = w.start("service", service{});
          w.start("client", [] {
            const mach_port_t to = look_up("service");
            for (int i = 0; i < 12; ++i) send_plain(to, 55);
            return 0;
          });
          if (is_slow) w.may_fail(s, faults::slow);
          w.run();
          sum += s.queue_seen();
        },
        {.seeds = 60, .forks = false});
    return sum;
  };
  CHECK(lengths(true) > lengths(false));
}

TEST_CASE("the report names the faults that the seed has switched on") {
  bool all_named = true;
  int with_faults = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const std::string report = report_of(
        [](world& w) {
          auto& client = w.start("client", [] { return 0; });
          w.may_fail(client, faults::full_queue | faults::interrupted);
          w.until({[] { return false; }, "nothing"});
        },
        seed);
    const bool names = report.find("  faults switched on for client: ") != std::string::npos;
    with_faults += names ? 1 : 0;
    all_named = all_named && names;
  }
  CHECK(with_faults > 0);
  CHECK(!all_named);  // a random part may be none
}

// --- By hand -------------------------------------------------------------------------------------

TEST_CASE("a process that is held before a message sends it when it is released") {
  const std::string report = report_of([](world& w) {
    auto& s = w.start("service", service{});
    auto& c = w.start("client", ask_once);
    s.hold(answer);
    w.run_to_rest();
    CHECK(s.is_held());
    CHECK(s.received(ask).count() == 1);
    CHECK(s.sent(answer).count() == 0);
    CHECK(!c.has_ended());
    s.release();
    w.calm();
    CHECK(c.status() == 0);
  });
  CHECK(report == "");
}

TEST_CASE("a full queue makes a sender wait, and the report says for what") {
  const std::string report = report_of([](world& w) {
    auto& s = w.start("service", service{});
    w.until(s.started_waiting());
    s.suspend();
    auto& c = w.start("client", [] {
      const mach_port_t to = look_up("service");
      send_plain(to, 55);
      return static_cast<int>(send_plain(to, 56));
    });
    w.until(c.sent(55));
    CHECK(s.fill(1, 57) == 5);
    CHECK_THROWS_AS(s.fill(9, 57), std::invalid_argument);
    w.calm();
  });
  CHECK(has(report, "client     room in service.1 (5 of 5) since step "));
  CHECK(has(report, "service    is suspended"));
}

TEST_CASE("a stalled process gets no turn until its time has come") {
  const std::string report = report_of([](world& w) {
    auto& c = w.start("client", [] { return 0; });
    c.stall(3ms);
    w.advance(2ms);
    CHECK(!c.has_ended());
    w.advance(1ms);
    w.calm();
    CHECK(c.has_ended());
    CHECK(w.time() == 3ms);
  });
  CHECK(report == "");
}

// --- Bad input -----------------------------------------------------------------------------------

TEST_CASE("what makes no sense is refused with a text that names it") {
  world w;
  auto& quick = w.start("quick", [] { return 0; });
  CHECK_THROWS_WITH_AS(w.start("quick", [] { return 0; }),
                       "kedge::harness: there is a process \"quick\" already",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(w.start("", [] { return 0; }), "kedge::harness: a process needs a name",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(w["slow"], "kedge::harness: there is no process \"slow\"",
                       std::out_of_range);
  CHECK_THROWS_WITH_AS(quick.status(), "kedge::harness: \"quick\" has not ended: it has no status",
                       std::logic_error);
  CHECK_THROWS_WITH_AS(w.may_fail(quick, {}), "kedge::harness: may_fail() by no fault",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(w.fail(quick, faults::slow, 1),
                       "kedge::harness: slow is not a fault of a call, and cannot happen in one",
                       std::invalid_argument);
  CHECK_THROWS_AS(w.advance(-1ns), std::invalid_argument);
  CHECK_THROWS_AS(w.choose("nothing", 0), std::invalid_argument);
  CHECK_THROWS_AS(w.pick(2, 1), std::invalid_argument);
  CHECK_THROWS_AS(w.limit_steps(0), std::invalid_argument);
  CHECK_THROWS_AS(world(), std::logic_error);
  w.calm();
  CHECK_THROWS_WITH_AS(quick.kill(), "kedge::harness: \"quick\" has ended, and cannot be killed",
                       std::logic_error);
  CHECK_THROWS_AS(w.may_kill(quick), std::logic_error);
  CHECK_THROWS_AS(w.may_fail(quick), std::logic_error);
  CHECK_THROWS_AS(quick.suspend(), std::logic_error);
  CHECK_THROWS_AS(quick.resume(), std::logic_error);
  CHECK_THROWS_AS(quick.hold(), std::logic_error);
  CHECK_THROWS_AS(quick.release(), std::logic_error);
  CHECK_THROWS_AS(quick.stall(1ms), std::logic_error);
  CHECK_THROWS_AS(quick.fill(1, 2), std::logic_error);
}

}  // namespace
