// A scheduler sees the calls of a task, and decides what happens where one would block.
#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/mach_time.h>
#include <mach/mk_timer.h>
#include <mach/semaphore.h>
#include <mach/task.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/kernel/scheduling.h"
#include "kedge/runtime/base/parker.h"

namespace {

using namespace kedge::mach::kernel;
using kedge::base::parker;

struct scripted final : parker, call_scheduler {
  ended park(const void* place, std::uint64_t until) noexcept override {
    at = place;
    deadline = until;
    const ended how = while_parked();
    at = nullptr;
    return how;
  }
  void unpark(const void* place) noexcept override { unparked = place == at; }
  void leave() noexcept override { ++left; }
  void note_outside(int, std::uint64_t) noexcept override {}
  void stop_outside(const char*) noexcept override { std::abort(); }
  void run_later(work* run, std::shared_ptr<void> job) override { run(job); }
  std::uint64_t next_address(std::uint64_t) noexcept override { return 0; }
  std::uint64_t now() const noexcept override { return time; }
  void before(const scheduled_call& call) noexcept override {
    calls.push_back(std::string(call.function) + (call.is_noticeable ? "" : " (own)"));
    sent_size = call.sent_size;
  }
  void after(const scheduled_call& call) noexcept override { results.push_back(call.result); }

  std::function<ended()> while_parked = [] { return ended::timed_out; };
  std::vector<std::string> calls;
  std::vector<kern_return_t> results;
  const void* at = nullptr;
  std::uint64_t deadline = 0;
  std::uint64_t time = 1'000'000'000;
  mach_msg_size_t sent_size = 0;
  int left = 0;
  bool unparked = false;
};

// Runs a function in a task that a scheduler runs.
struct scheduled_task {
  scheduled_task() {
    use_clock(parker::read_clock, static_cast<parker*>(&by));
    set_call_scheduler(&by);
  }
  scheduled_task(const scheduled_task&) = delete;
  scheduled_task& operator=(const scheduled_task&) = delete;
  ~scheduled_task() {
    set_call_scheduler(nullptr);
    use_clock(nullptr, nullptr);
    terminate_task(of);
  }
  template <class Body>
  void run(Body body) {
    const current_task_guard inside(of);
    parker* const before = parker::set_of_thread(&by);
    body();
    parker::set_of_thread(before);
  }

  scripted by;
  const task of = create_task(task_options{.name_seed = 7, .pid = 42, .pid_version = 3});
};

mach_port_t make_port() {
  mach_port_t made = MACH_PORT_NULL;
  REQUIRE(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &made) == KERN_SUCCESS);
  return made;
}

mach_msg_return_t send_to(mach_port_t to, mach_msg_type_name_t by = MACH_MSG_TYPE_MAKE_SEND) {
  mach_msg_header_t m{};
  m.msgh_bits = MACH_MSGH_BITS(by, 0);
  m.msgh_remote_port = to;
  return mach_msg(&m, MACH_SEND_MSG, sizeof m, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
}

struct arrival {
  mach_msg_header_t header;
  mach_msg_audit_trailer_t trailer;
};
mach_msg_return_t receive_from(mach_port_t from, arrival& m, mach_msg_timeout_t limit = 0) {
  const mach_msg_option_t timed = limit != 0 ? MACH_RCV_TIMEOUT : 0;
  return mach_msg(
      &m.header,
      MACH_RCV_MSG | timed | MACH_RCV_INTERRUPT | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT),
      0, sizeof m, from, limit, MACH_PORT_NULL);
}

TEST_CASE("the calls of a task are announced with their names and results") {
  scheduled_task t;
  t.run([] {
    const mach_port_t port = make_port();
    CHECK(send_to(port) == MACH_MSG_SUCCESS);
    arrival m;
    CHECK(receive_from(port, m) == MACH_MSG_SUCCESS);
    CHECK(m.trailer.msgh_audit.val[5] == 42);
    CHECK(m.trailer.msgh_audit.val[7] == 3);
    CHECK(mach_port_deallocate(mach_task_self(), 0x1234) == KERN_INVALID_NAME);
  });
  CHECK(t.by.calls == std::vector<std::string>{"mach_port_allocate (own)", "mach_msg", "mach_msg",
                                               "mach_port_deallocate"});
  CHECK(t.by.results == std::vector<kern_return_t>{KERN_SUCCESS, MACH_MSG_SUCCESS, MACH_MSG_SUCCESS,
                                                   KERN_INVALID_NAME});
}

TEST_CASE("the names of a task follow its seed") {
  const auto names_of = [](std::uint64_t seed) {
    const task made = create_task(task_options{.name_seed = seed});
    std::vector<mach_port_t> names;
    {
      const current_task_guard inside(made);
      for (int i = 0; i < 4; ++i) names.push_back(make_port());
    }
    terminate_task(made);
    return names;
  };
  CHECK(names_of(1) == names_of(1));
  CHECK(names_of(1) != names_of(2));
}

TEST_CASE("a receive parks until a message comes, its time is over, or it is interrupted") {
  scheduled_task t;
  t.run([&] {
    const mach_port_t port = make_port();
    arrival m;
    SUBCASE("a message") {
      t.by.while_parked = [&] {
        CHECK(send_to(port) == MACH_MSG_SUCCESS);
        return parker::ended::woken;
      };
      CHECK(receive_from(port, m) == MACH_MSG_SUCCESS);
      CHECK(t.by.unparked);
      CHECK(t.by.deadline == parker::never);
    }
    SUBCASE("its time") {
      CHECK(receive_from(port, m, 20) == MACH_RCV_TIMED_OUT);
      CHECK(t.by.deadline == t.by.time + 20'000'000);
    }
    SUBCASE("an interruption") {
      t.by.while_parked = [] { return parker::ended::interrupted; };
      CHECK(receive_from(port, m) == MACH_RCV_INTERRUPTED);
    }
    SUBCASE("the end of its task") {
      t.by.while_parked = [&] {
        terminate_task(t.of);
        return parker::ended::interrupted;
      };
      CHECK(receive_from(port, m) == MACH_RCV_PORT_DIED);
    }
  });
}

TEST_CASE("a send parks for room, a semaphore's wait for its signal") {
  scheduled_task t;
  t.run([&] {
    SUBCASE("room") {
      const mach_port_t port = make_port();
      for (int i = 0; i < MACH_PORT_QLIMIT_DEFAULT; ++i) REQUIRE(send_to(port) == MACH_MSG_SUCCESS);
      t.by.while_parked = [&] {
        arrival m;
        CHECK(receive_from(port, m) == MACH_MSG_SUCCESS);
        return parker::ended::woken;
      };
      CHECK(send_to(port) == MACH_MSG_SUCCESS);
      CHECK(t.by.unparked);
    }
    SUBCASE("a signal") {
      semaphore_t made = MACH_PORT_NULL;
      REQUIRE(semaphore_create(mach_task_self(), &made, SYNC_POLICY_FIFO, 0) == KERN_SUCCESS);
      t.by.while_parked = [&] {
        CHECK(semaphore_signal(made) == KERN_SUCCESS);
        return parker::ended::woken;
      };
      CHECK(semaphore_wait(made) == KERN_SUCCESS);
    }
  });
}

TEST_CASE("mach_wait_until() parks, and tells the scheduler when it was interrupted") {
  scheduled_task t;
  t.run([&] {
    SUBCASE("to its end") {
      CHECK(mach_wait_until(t.by.time + 5) == KERN_SUCCESS);
      CHECK(t.by.deadline == t.by.time + 5);
      CHECK(t.by.left == 0);
    }
    SUBCASE("interrupted") {
      t.by.while_parked = [] { return parker::ended::interrupted; };
      CHECK(mach_wait_until(t.by.time + 5) == KERN_ABORTED);
      CHECK(t.by.left == 1);
    }
  });
}

TEST_CASE("next_timer() is the time of the first timer") {
  scheduled_task t;
  CHECK(next_timer() == ~std::uint64_t{0});
  t.run([&] {
    const mach_port_t timer = mk_timer_create();
    REQUIRE(mk_timer_arm(timer, t.by.time + 30) == KERN_SUCCESS);
    REQUIRE(mk_timer_arm(mk_timer_create(), t.by.time + 20) == KERN_SUCCESS);
    CHECK(next_timer() == t.by.time + 20);
  });
}

TEST_CASE("port_number() is the port's, whatever its names") {
  const task a = create_task(task_options{.name_seed = 1});
  const task b = create_task(task_options{.name_seed = 2});
  {
    const current_task_guard inside(a);
    const mach_port_t port = make_port();
    REQUIRE(mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND) ==
            KERN_SUCCESS);
    mach_port_name_t there = MACH_PORT_NULL;
    REQUIRE(place_right(b, port, &there) == KERN_SUCCESS);
    CHECK(port_number(a, port) != 0);
    CHECK(port_number(a, port) == port_number(b, there));
    CHECK(port_number(a, make_port()) != port_number(a, port));
    CHECK(port_number(a, 0x1234) == 0);
    mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1);
    CHECK(port_number(b, there) == 0);  // a dead name
  }
  terminate_task(a);
  terminate_task(b);
}

}  // namespace
