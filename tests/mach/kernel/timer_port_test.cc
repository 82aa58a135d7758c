// <mach/mk_timer.h>: ports that receive a message when their time has come.
#include <doctest/doctest.h>

#include <mach/mach_time.h>
#include <mach/mach_time_private.h>
#include <mach/mk_timer.h>
#include <mach/notify.h>
#include <sys/event.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "kedge/runtime/kqueue/extension.h"
#include "test_message.h"
#include "virtual_clock.h"

// ThreadSanitizer ends a child that starts a thread after a fork of several threads.
#if defined(__SANITIZE_THREAD__)
#define KEDGE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEDGE_THREAD_SANITIZER 1
#endif
#endif

using namespace test;

namespace {

namespace extension = kedge::mach::kernel;

const mach_port_t self = mach_task_self();
const auto linux_only = doctest::skip(!extension::has_many_tasks());
const std::uint64_t far_away = mach_absolute_time() + (std::uint64_t{1} << 50);

struct expiry {
  mk_timer_expire_msg_t message{};
  mach_msg_audit_trailer_t trailer{};
};

// Waits for a message.
kern_return_t wait_for(mach_port_t from, expiry& got) {
  return mach_msg(&got.message.header,
                  MACH_RCV_MSG | MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) |
                      MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT),
                  0, sizeof got, from, 0, MACH_PORT_NULL);
}

kern_return_t try_receive(mach_port_t from) {
  message got;
  return got.receive(from);
}

mach_port_name_t new_timer() {
  const mach_port_name_t made = mk_timer_create();
  REQUIRE(made != MACH_PORT_NULL);
  return made;
}

}  // namespace

TEST_CASE("an armed timer sends one message to its port, not before its time") {
  const mach_port_name_t timer = new_timer();
  CHECK(type_of(timer) == MACH_PORT_TYPE_RECEIVE);
  const std::uint64_t due = mach_absolute_time() + 2000000;
  REQUIRE(mk_timer_arm(timer, due) == KERN_SUCCESS);
  expiry got;
  REQUIRE(wait_for(timer, got) == MACH_MSG_SUCCESS);
  CHECK(mach_absolute_time() >= due);
  const mach_msg_header_t& header = got.message.header;
  CHECK(header.msgh_id == 0);
  CHECK(header.msgh_size == sizeof got.message);
  CHECK(header.msgh_local_port == timer);
  CHECK(header.msgh_remote_port == MACH_PORT_NULL);
  CHECK(header.msgh_bits == MACH_MSGH_BITS(0u, MACH_MSG_TYPE_PORT_SEND));
  for (const std::uint64_t each : got.message.unused) CHECK(each == 0);
  // The sender is the kernel.
  CHECK(got.trailer.msgh_sender.val[0] == 0);
  CHECK(got.trailer.msgh_audit.val[5] == 0);
  std::uint64_t armed = 1;
  CHECK(mk_timer_cancel(timer, &armed) == KERN_SUCCESS);
  CHECK(armed == 0);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("a timer's message is queued when clock_moved() returns, and not before its time" *
          linux_only) {
  virtual_clock clock;
  const mach_port_name_t timer = new_timer();
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    REQUIRE(mk_timer_arm(timer, clock.now() + hour) == KERN_SUCCESS);
    clock.advance(hour - 1);
    CHECK(try_receive(timer) == MACH_RCV_TIMED_OUT);
    clock.advance(1);
    CHECK(try_receive(timer) == MACH_MSG_SUCCESS);
    clock.advance(hour);
    CHECK(try_receive(timer) == MACH_RCV_TIMED_OUT);
  }
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("a timer armed for a time that the program's clock has passed sends its message at once" *
          linux_only) {
  const virtual_clock clock;
  const mach_port_name_t timer = new_timer();
  for (const std::uint64_t due : {std::uint64_t{0}, clock.now() - 1, clock.now()}) {
    CAPTURE(due);
    REQUIRE(mk_timer_arm(timer, due) == KERN_SUCCESS);
    CHECK(try_receive(timer) == MACH_MSG_SUCCESS);
  }
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("clock_moved() activates the EVFILT_MACHPORT knote of a timer that is due" * linux_only) {
  virtual_clock clock;
  const mach_port_name_t timer = new_timer();
  const int queue = kqueue();
  kevent64_s event{};
  event.ident = timer;
  event.filter = EVFILT_MACHPORT;
  event.flags = EV_ADD;
  REQUIRE(kevent64(queue, &event, 1, nullptr, 0, 0, nullptr) == 0);
  REQUIRE(mk_timer_arm(timer, clock.now() + hour) == KERN_SUCCESS);
  const timespec no_wait{};
  CHECK(kevent64(queue, nullptr, 0, &event, 1, 0, &no_wait) == 0);
  clock.advance(hour);
  CHECK(kevent64(queue, nullptr, 0, &event, 1, 0, &no_wait) == 1);
  CHECK(event.data == timer);
  close(queue);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

// As docs/virtual-time.md has it.
TEST_CASE("one clock for Mach and a kqueue expires the timers of both in one call of kevent" *
          linux_only) {
  virtual_clock clock;
  const mach_port_name_t timer = new_timer();
  const int queue = kqueue();
  const auto read = [](void* of) noexcept { return static_cast<virtual_clock*>(of)->now(); };
  REQUIRE(kedge::kqueue::use_clock(queue, read, &clock));
  std::array<kevent64_s, 2> events{};
  events[0].ident = timer;
  events[0].filter = EVFILT_MACHPORT;
  events[0].flags = EV_ADD;
  events[1].filter = EVFILT_TIMER;
  events[1].flags = EV_ADD | EV_ONESHOT;
  events[1].data = 3600000;
  REQUIRE(kevent64(queue, events.data(), 2, nullptr, 0, 0, nullptr) == 0);
  REQUIRE(mk_timer_arm(timer, clock.now() + hour) == KERN_SUCCESS);
  const timespec no_wait{};
  clock.advance(hour - 1);
  kedge::kqueue::clock_moved(queue);
  CHECK(kevent64(queue, nullptr, 0, events.data(), 2, 0, &no_wait) == 0);
  clock.advance(1);
  kedge::kqueue::clock_moved(queue);
  CHECK(kevent64(queue, nullptr, 0, events.data(), 2, 0, &no_wait) == 2);
  close(queue);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("a receive that waits for a timer gets its message when one move passes both times" *
          linux_only) {
  virtual_clock clock;
  const mach_port_name_t timer = new_timer();
  mach_msg_return_t result = MACH_MSG_SUCCESS;
  REQUIRE(mk_timer_arm(timer, clock.now() + 2 * hour) == KERN_SUCCESS);
  const std::uint64_t before = clock.readings();
  std::thread receiver([&] {
    message got;
    result = mach_msg(&got.header(), MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof got.bytes, timer,
                      3600000, MACH_PORT_NULL);
  });
  clock.await_readings(before + 2);  // for its deadline, and before it sleeps
  clock.advance(3 * hour);
  receiver.join();
  CHECK(result == MACH_MSG_SUCCESS);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("one move by a day sends the messages of its timers in the order of their times" *
          linux_only) {
  constexpr std::uint64_t hours = 24;
  virtual_clock clock;
  const mach_port_name_t set = new_port(MACH_PORT_RIGHT_PORT_SET);
  std::vector<mach_port_name_t> by_time(hours + 2);
  for (mach_port_name_t& each : by_time) {
    each = new_timer();
    REQUIRE(mach_port_insert_member(self, each, set) == KERN_SUCCESS);
  }
  for (std::uint64_t each = 0; each < hours; ++each) {
    const std::uint64_t at = each * 7 % hours;
    REQUIRE(mk_timer_arm(by_time[at], clock.now() + (at + 1) * hour) == KERN_SUCCESS);
  }
  // Of one time, the timer that was armed first is the first.
  REQUIRE(mk_timer_arm(by_time[hours + 1], clock.now() + hours * hour) == KERN_SUCCESS);
  REQUIRE(mk_timer_arm(by_time[hours], clock.now() + hours * hour) == KERN_SUCCESS);
  REQUIRE(mk_timer_arm(by_time[hours + 1], clock.now() + hours * hour) == KERN_SUCCESS);
  clock.advance(hours * hour);
  for (const mach_port_name_t each : by_time) {
    expiry got;
    REQUIRE(wait_for(set, got) == MACH_MSG_SUCCESS);
    CHECK(got.message.header.msgh_local_port == each);
  }
  CHECK(try_receive(set) == MACH_RCV_TIMED_OUT);
  for (const mach_port_name_t each : by_time) CHECK(mk_timer_destroy(each) == KERN_SUCCESS);
  CHECK(mach_port_mod_refs(self, set, MACH_PORT_RIGHT_PORT_SET, -1) == KERN_SUCCESS);
}

TEST_CASE("three timers that are armed again and again tick through a day at their times" *
          linux_only) {
  constexpr std::uint64_t minute = hour / 60;
  constexpr std::uint64_t minutes_of_day = 24 * 60;
  constexpr std::array<std::uint64_t, 3> periods{7, 11, 13};
  virtual_clock clock;
  std::array<mach_port_name_t, 3> timers{};
  for (std::size_t each = 0; each < timers.size(); ++each) {
    timers[each] = new_timer();
    REQUIRE(mk_timer_arm(timers[each], clock.now() + periods[each] * minute) == KERN_SUCCESS);
  }
  for (std::uint64_t passed = 1; passed <= minutes_of_day; ++passed) {
    CAPTURE(passed);
    clock.advance(minute);
    for (std::size_t each = 0; each < timers.size(); ++each) {
      const bool ticks = passed % periods[each] == 0;
      CHECK(try_receive(timers[each]) == (ticks ? MACH_MSG_SUCCESS : MACH_RCV_TIMED_OUT));
      if (ticks) mk_timer_arm(timers[each], clock.now() + periods[each] * minute);
    }
  }
  for (const mach_port_name_t each : timers) CHECK(mk_timer_destroy(each) == KERN_SUCCESS);
}

TEST_CASE("timers expire by the machine's clock again once the program has restored it" *
          linux_only) {
  const mach_port_name_t timer = new_timer();
  for (int round = 0; round < 20; ++round) {
    {
      const virtual_clock clock;
      REQUIRE(mk_timer_arm(timer, clock.now() + hour) == KERN_SUCCESS);
      REQUIRE(mk_timer_cancel(timer, nullptr) == KERN_SUCCESS);
    }
    REQUIRE(mk_timer_arm(timer, far_away) == KERN_SUCCESS);
    REQUIRE(mk_timer_arm(timer, mach_absolute_time() + 1) == KERN_SUCCESS);
    expiry got;
    CHECK(wait_for(timer, got) == MACH_MSG_SUCCESS);
  }
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("a timer that is armed for the past, or for 0, expires at once, and can be armed again") {
  const mach_port_name_t timer = new_timer();
  for (const std::uint64_t due : {std::uint64_t{0}, std::uint64_t{1}, mach_absolute_time()}) {
    CAPTURE(due);
    REQUIRE(mk_timer_arm(timer, due) == KERN_SUCCESS);
    expiry got;
    REQUIRE(wait_for(timer, got) == MACH_MSG_SUCCESS);
    CHECK(status_of(timer).mps_msgcount == 0);
  }
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("arming replaces the time before, and cancelling returns it") {
  const mach_port_name_t timer = new_timer();
  std::uint64_t armed = 1;
  REQUIRE(mk_timer_arm(timer, far_away) == KERN_SUCCESS);
  REQUIRE(mk_timer_arm_leeway(timer, MK_TIMER_CRITICAL, far_away + 1, 1000) == KERN_SUCCESS);
  CHECK(mk_timer_cancel(timer, &armed) == KERN_SUCCESS);
  CHECK(armed == far_away + 1);
  CHECK(mk_timer_cancel(timer, &armed) == KERN_SUCCESS);
  CHECK(armed == 0);
  CHECK(mk_timer_cancel(timer, nullptr) == KERN_SUCCESS);
  REQUIRE(mk_timer_arm(timer, far_away) == KERN_SUCCESS);
  REQUIRE(mk_timer_arm(timer, mach_absolute_time()) == KERN_SUCCESS);
  expiry got;
  CHECK(wait_for(timer, got) == MACH_MSG_SUCCESS);
  CHECK(mk_timer_cancel(timer, &armed) == KERN_SUCCESS);
  CHECK(armed == 0);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("a timer whose message was not received yet sends no second one") {
  const mach_port_name_t timer = new_timer(), other = new_timer();
  for (int round = 0; round < 3; ++round) {
    REQUIRE(mk_timer_arm(timer, 1) == KERN_SUCCESS);
    // Timers expire in the order of their times: the first one has expired when this one has.
    REQUIRE(mk_timer_arm(other, mach_absolute_time()) == KERN_SUCCESS);
    expiry got;
    REQUIRE(wait_for(other, got) == MACH_MSG_SUCCESS);
    CHECK(status_of(timer).mps_msgcount == 1);
  }
  // A message that is queued already stays.
  CHECK(mk_timer_cancel(timer, nullptr) == KERN_SUCCESS);
  expiry got;
  CHECK(wait_for(timer, got) == MACH_MSG_SUCCESS);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
  CHECK(mk_timer_destroy(other) == KERN_SUCCESS);
}

TEST_CASE("the calls on timers refuse a name that is not a timer's receive right") {
  const mach_port_name_t timer = new_timer(), plain = new_port();
  REQUIRE(mk_timer_arm(timer, far_away) == KERN_SUCCESS);
  REQUIRE(mk_timer_destroy(timer) == KERN_SUCCESS);
  CHECK(type_of(timer) == 0);
  mach_port_name_t set = MACH_PORT_NULL;
  REQUIRE(mach_port_allocate(self, MACH_PORT_RIGHT_PORT_SET, &set) == KERN_SUCCESS);
  struct row {
    mach_port_name_t name;
    kern_return_t result;
  };
  for (const row& each :
       {row{timer, KERN_INVALID_NAME}, row{MACH_PORT_NULL, KERN_INVALID_NAME},
        row{MACH_PORT_DEAD, KERN_INVALID_NAME}, row{set, KERN_INVALID_RIGHT},
        row{mach_host_self(), KERN_INVALID_RIGHT}, row{plain, KERN_INVALID_ARGUMENT}}) {
    CAPTURE(each.name);
    CHECK(mk_timer_arm(each.name, 0) == each.result);
    CHECK(mk_timer_cancel(each.name, nullptr) == each.result);
    CHECK(mk_timer_destroy(each.name) == each.result);
  }
  CHECK(end_receive(plain) == KERN_SUCCESS);
  CHECK(mach_port_mod_refs(self, set, MACH_PORT_RIGHT_PORT_SET, -1) == KERN_SUCCESS);
}

TEST_CASE("two threads arm and cancel timers while two others create and destroy them") {
  std::atomic<mach_port_name_t> latest{new_timer()};
  std::atomic<int> creators{2};
  std::vector<std::thread> threads;
  for (int each = 0; each < 2; ++each) {
    threads.emplace_back([&] {
      while (creators > 0) {
        std::uint64_t armed = 0;
        const mach_port_name_t timer = latest;
        mk_timer_arm(timer, far_away);
        mk_timer_cancel(timer, &armed);
      }
    });
    threads.emplace_back([&] {
      for (int round = 0; round < 5000; ++round) {
        mk_timer_destroy(latest.exchange(mk_timer_create()));
      }
      --creators;
    });
  }
  for (std::thread& each : threads) each.join();
  std::uint64_t armed = 0;
  CHECK(mk_timer_arm(latest, far_away) == KERN_SUCCESS);
  CHECK(mk_timer_cancel(latest, &armed) == KERN_SUCCESS);
  CHECK(armed == far_away);
  CHECK(mk_timer_destroy(latest) == KERN_SUCCESS);
}

TEST_CASE("the receive right of a timer cannot be moved, by a message or by its destruction" *
          doctest::skip(!extension::has_many_tasks())) {
  const extension::task owner = extension::task_of_thread();
  extension::set_guard_behaviour(owner, extension::guard_behaviour::record);
  const mach_port_name_t timer = new_timer(), port = new_service(), notify = new_port();
  message m(port, MACH_MSG_TYPE_COPY_SEND, 0, {{timer, MACH_MSG_TYPE_MOVE_RECEIVE}});
  CHECK(m.send() == MACH_SEND_INVALID_RIGHT);
  extension::take_guard_exceptions(owner);  // of the message
  CHECK(request(timer, MACH_NOTIFY_PORT_DESTROYED, 0, notify) == KERN_INVALID_RIGHT);
  const auto raised = extension::take_guard_exceptions(owner);
  REQUIRE(raised.size() == 1);
  CHECK(raised[0].code == kGUARD_EXC_INVALID_RIGHT);
  CHECK(raised[0].name == timer);
  CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
  extension::set_guard_behaviour(owner, extension::guard_behaviour::ordinary);
  CHECK(request(timer, MACH_NOTIFY_NO_SENDERS, 0, notify) == KERN_SUCCESS);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("the port of a timer is a kernel object, which takes no part in importance") {
  const mach_port_name_t timer = new_timer();
  natural_t type = 0;
  mach_vm_address_t address = 1;
  kobject_description_t text{'x'};
  CHECK(mach_port_kobject(self, timer, &type, &address) == KERN_SUCCESS);
  CHECK(type == 8);
  unsigned int old_type = 0, old_address = 1;
  CHECK(mach_port_kernel_object(self, timer, &old_type, &old_address) == KERN_SUCCESS);
  CHECK(old_type == 8);
  CHECK(mach_port_kobject_description(self, timer, &type, &address, text) == KERN_SUCCESS);
  CHECK(text[0] == '\0');
  for (const mach_port_flavor_t flavor :
       {MACH_PORT_TEMPOWNER, MACH_PORT_IMPORTANCE_RECEIVER, MACH_PORT_DENAP_RECEIVER}) {
    CAPTURE(flavor);
    CHECK(mach_port_set_attributes(self, timer, flavor, nullptr, 0) == KERN_INVALID_ARGUMENT);
  }
  CHECK(set_limit(timer, 3) == KERN_SUCCESS);
  CHECK(status_of(timer).mps_qlimit == 3);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("a timer sends no second message while its first one waits behind others") {
  constexpr mach_msg_id_t others = 3;
  const mach_port_name_t timer = new_timer(), later = new_timer();
  REQUIRE(mach_port_insert_right(self, timer, timer, MACH_MSG_TYPE_MAKE_SEND) == KERN_SUCCESS);
  // The timer has expired when a later one has.
  const auto expire = [&] {
    REQUIRE(mk_timer_arm(timer, 1) == KERN_SUCCESS);
    REQUIRE(mk_timer_arm(later, 2) == KERN_SUCCESS);
    expiry got;
    REQUIRE(wait_for(later, got) == MACH_MSG_SUCCESS);
  };
  for (const mach_port_seqno_t seqno : {0u, 1000u, ~0u}) {
    CAPTURE(seqno);
    for (mach_msg_id_t id = 1; id <= others; ++id) {
      REQUIRE(message(timer, MACH_MSG_TYPE_COPY_SEND, id).send() == MACH_MSG_SUCCESS);
    }
    expire();
    CHECK(mach_port_set_seqno(self, timer, seqno) == KERN_SUCCESS);
    CHECK(status_of(timer).mps_msgcount == others + 1);
    for (mach_msg_id_t id = 1; id <= others; ++id) {
      expire();
      CHECK(next_id(timer) == id);
    }
    CHECK(status_of(timer).mps_msgcount == 1);
    CHECK(next_id(timer) == 0);
    // Once it is received the timer sends again.
    expire();
    CHECK(next_id(timer) == 0);
    CHECK(next_id(timer) == -1);
  }
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
  CHECK(mk_timer_destroy(later) == KERN_SUCCESS);
}

TEST_CASE("the port of a timer receives other messages too, up to its queue limit") {
  const mach_port_name_t timer = new_timer();
  REQUIRE(mach_port_insert_right(self, timer, timer, MACH_MSG_TYPE_MAKE_SEND) == KERN_SUCCESS);
  REQUIRE(set_limit(timer, 1) == KERN_SUCCESS);
  CHECK(message(timer, MACH_MSG_TYPE_COPY_SEND, 7).send() == MACH_MSG_SUCCESS);
  message refused(timer, MACH_MSG_TYPE_COPY_SEND, 8);
  CHECK(mach_msg(&refused.header(), MACH_SEND_MSG | MACH_SEND_TIMEOUT, refused.size, 0,
                 MACH_PORT_NULL, 0, MACH_PORT_NULL) == MACH_SEND_TIMED_OUT);
  CHECK(next_id(timer) == 7);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("the child of a fork has no timers of its parent, and the parent keeps them") {
  const mach_port_name_t timer = new_timer();
  REQUIRE(mk_timer_arm(timer, far_away) == KERN_SUCCESS);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) _exit(mk_timer_cancel(timer, nullptr) == KERN_INVALID_NAME ? 0 : 1);
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  std::uint64_t armed = 0;
  CHECK(mk_timer_cancel(timer, &armed) == KERN_SUCCESS);
  CHECK(armed == far_away);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

#if !defined(KEDGE_THREAD_SANITIZER)
TEST_CASE("a timer that the child of a fork makes expires there") {
  const mach_port_name_t timer = new_timer();
  REQUIRE(mk_timer_arm(timer, far_away) == KERN_SUCCESS);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const mach_port_name_t own = mk_timer_create();
    expiry got;
    const bool works = mk_timer_arm(own, mach_absolute_time()) == KERN_SUCCESS &&
                       wait_for(own, got) == MACH_MSG_SUCCESS;
    _exit(works ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}
#endif

TEST_CASE("mach_get_times reads the clocks that are asked for") {
  std::uint64_t absolute = 0, continuous = 0;
  timespec day{};
  const std::uint64_t before = mach_absolute_time();
  REQUIRE(mach_get_times(&absolute, &continuous, &day) == KERN_SUCCESS);
  CHECK(absolute >= before);
  CHECK(continuous >= absolute);
  CHECK(day.tv_sec <= time(nullptr));
  CHECK(day.tv_sec > 0);
  CHECK(mach_get_times(nullptr, nullptr, nullptr) == KERN_SUCCESS);
}
