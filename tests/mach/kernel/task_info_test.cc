// What a program can ask about a task, its threads, its exceptions, the host and the host's clocks.
#include <doctest/doctest.h>

#include <mach/clock.h>
#include <mach/mach.h>
#include <mach/mach_host.h>
#include <mach/mach_time.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

namespace extension = kedge::mach::kernel;

const mach_port_t self = mach_task_self();

template <typename Token>
kern_return_t token_of(mach_port_t task, task_flavor_t flavor, Token& token) {
  mach_msg_type_number_t count = sizeof token / sizeof(natural_t);
  const kern_return_t result =
      task_info(task, flavor, reinterpret_cast<task_info_t>(&token), &count);
  if (result == KERN_SUCCESS) CHECK(count == sizeof token / sizeof(natural_t));
  return result;
}

}  // namespace

TEST_CASE("task_info gives the tokens that the trailers of the task's messages have") {
  const mach_port_name_t port = new_service();
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  REQUIRE(m.send() == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port, MACH_RCV_TRAILER_TYPE(MACH_MSG_TRAILER_FORMAT_0) |
                                MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT)) ==
          MACH_MSG_SUCCESS);
  mach_msg_audit_trailer_t trailer;
  std::memcpy(&trailer, got.bytes + got.header().msgh_size, sizeof trailer);
  audit_token_t audit{};
  security_token_t security{};
  REQUIRE(token_of(self, TASK_AUDIT_TOKEN, audit) == KERN_SUCCESS);
  REQUIRE(token_of(self, TASK_SECURITY_TOKEN, security) == KERN_SUCCESS);
  CHECK(std::memcmp(&audit, &trailer.msgh_audit, sizeof audit) == 0);
  CHECK(std::memcmp(&security, &trailer.msgh_sender, sizeof security) == 0);
  CHECK(audit.val[5] == static_cast<unsigned>(getpid()));
}

TEST_CASE("task_info refuses a short buffer, an unknown flavor and what is not a task") {
  audit_token_t audit{};
  const auto words = reinterpret_cast<task_info_t>(&audit);
  mach_msg_type_number_t count = TASK_AUDIT_TOKEN_COUNT - 1;
  CHECK(task_info(self, TASK_AUDIT_TOKEN, words, &count) == KERN_INVALID_ARGUMENT);
  count = TASK_SECURITY_TOKEN_COUNT - 1;
  CHECK(task_info(self, TASK_SECURITY_TOKEN, words, &count) == KERN_INVALID_ARGUMENT);
  count = TASK_AUDIT_TOKEN_COUNT;
  CHECK(task_info(self, 9999, words, &count) == KERN_INVALID_ARGUMENT);
  CHECK(task_info(new_service(), TASK_AUDIT_TOKEN, words, &count) == KERN_INVALID_ARGUMENT);
  CHECK(task_info(MACH_PORT_NULL, TASK_AUDIT_TOKEN, words, &count) == MACH_SEND_INVALID_DEST);
}

TEST_CASE("pid_for_task and mach_task_is_self distinguish the calling task from other ports") {
  int pid = 0;
  CHECK(pid_for_task(self, &pid) == KERN_SUCCESS);
  CHECK(pid == getpid());
  for (const mach_port_t other : {new_service(), mach_port_t{MACH_PORT_NULL}, mach_host_self()}) {
    CAPTURE(other);
    pid = 0;
    CHECK(pid_for_task(other, &pid) == KERN_FAILURE);
    CHECK(pid == -1);
    CHECK(!mach_task_is_self(other));
  }
  CHECK(mach_task_is_self(self));
}

TEST_CASE("another task has another audit token, and is not the calling one") {
  if (!extension::has_many_tasks()) return;
  const extension::task other = extension::create_task();
  const mach_port_t port = extension::task_self_port(other);
  audit_token_t own{}, its{};
  REQUIRE(token_of(self, TASK_AUDIT_TOKEN, own) == KERN_SUCCESS);
  REQUIRE(token_of(port, TASK_AUDIT_TOKEN, its) == KERN_SUCCESS);
  CHECK(std::memcmp(&own, &its, sizeof own) != 0);
  CHECK(!mach_task_is_self(port));
  int pid = 0;
  CHECK(pid_for_task(port, &pid) == KERN_SUCCESS);
  CHECK(pid == getpid());
  extension::terminate_task(other);
}

TEST_CASE("the guard behavior of a task can be read, and refuses unknown bits") {
  task_exc_guard_behavior_t before = 0xffff, after = 0;
  REQUIRE(task_get_exc_guard_behavior(self, &before) == KERN_SUCCESS);
  CHECK((before & ~static_cast<unsigned>(TASK_EXC_GUARD_ALL)) == 0);
  CHECK(task_set_exc_guard_behavior(self, before) == KERN_SUCCESS);
  CHECK(task_set_exc_guard_behavior(self, TASK_EXC_GUARD_ALL + 1) == KERN_INVALID_VALUE);
  REQUIRE(task_get_exc_guard_behavior(self, &after) == KERN_SUCCESS);
  CHECK(after == before);
  CHECK(task_get_exc_guard_behavior(new_service(), &after) == KERN_INVALID_TASK);
  CHECK(task_set_exc_guard_behavior(new_service(), 0) == KERN_INVALID_TASK);
}

TEST_CASE("a task whose guard exceptions are fatal is a hardened one") {
  if (!extension::has_many_tasks()) return;
  const extension::task other = extension::create_task();
  const mach_port_t port = extension::task_self_port(other);
  task_exc_guard_behavior_t behavior = 1;
  REQUIRE(task_get_exc_guard_behavior(port, &behavior) == KERN_SUCCESS);
  CHECK(behavior == TASK_EXC_GUARD_NONE);
  extension::set_guard_behaviour(other, extension::guard_behaviour::hardened);
  REQUIRE(task_get_exc_guard_behavior(port, &behavior) == KERN_SUCCESS);
  CHECK(behavior == (TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_MP_FATAL));
  REQUIRE(task_set_exc_guard_behavior(port, TASK_EXC_GUARD_VM_ALL) == KERN_SUCCESS);
  REQUIRE(task_get_exc_guard_behavior(port, &behavior) == KERN_SUCCESS);
  CHECK(behavior == TASK_EXC_GUARD_VM_ALL);
  extension::terminate_task(other);
}

TEST_CASE("a task without exception ports reports none, and can set none") {
  exception_mask_t masks[EXC_TYPES_COUNT] = {};
  mach_port_t ports[EXC_TYPES_COUNT] = {};
  exception_behavior_t behaviors[EXC_TYPES_COUNT] = {};
  thread_state_flavor_t flavors[EXC_TYPES_COUNT] = {};
  mach_msg_type_number_t count = EXC_TYPES_COUNT;
  REQUIRE(task_get_exception_ports(self, EXC_MASK_BAD_ACCESS | EXC_MASK_CRASH, masks, &count, ports,
                                   behaviors, flavors) == KERN_SUCCESS);
  REQUIRE(count == 1);
  CHECK(masks[0] == (EXC_MASK_BAD_ACCESS | EXC_MASK_CRASH));
  CHECK(ports[0] == MACH_PORT_NULL);
  count = EXC_TYPES_COUNT;
  CHECK(task_get_exception_ports(self, 1u << 31, masks, &count, ports, behaviors, flavors) ==
        KERN_INVALID_ARGUMENT);
  CHECK(task_set_exception_ports(self, EXC_MASK_ALL, MACH_PORT_NULL, 0, THREAD_STATE_NONE) ==
        KERN_SUCCESS);
  CHECK(task_set_exception_ports(self, 1u << 31, MACH_PORT_NULL, 0, THREAD_STATE_NONE) ==
        KERN_INVALID_ARGUMENT);
  CHECK(task_set_exception_ports(self, EXC_MASK_ALL, new_service(), 77, THREAD_STATE_NONE) ==
        KERN_INVALID_ARGUMENT);
  const mach_port_t thread = mach_thread_self();
  count = EXC_TYPES_COUNT;
  REQUIRE(thread_get_exception_ports(thread, EXC_MASK_ALL, masks, &count, ports, behaviors,
                                     flavors) == KERN_SUCCESS);
  CHECK(count == 1);
  CHECK(ports[0] == MACH_PORT_NULL);
  CHECK(thread_set_exception_ports(thread, EXC_MASK_ALL, MACH_PORT_NULL, 0, THREAD_STATE_NONE) ==
        KERN_SUCCESS);
  CHECK(thread_set_exception_ports(MACH_PORT_NULL, EXC_MASK_ALL, MACH_PORT_NULL, 0,
                                   THREAD_STATE_NONE) == MACH_SEND_INVALID_DEST);
  CHECK(mach_port_deallocate(self, thread) == KERN_SUCCESS);
}

TEST_CASE("exception ports are refused as unsupported where no exceptions are delivered") {
  if (!extension::has_many_tasks()) return;
  const mach_port_t handler = new_service();
  CHECK(task_set_exception_ports(self, EXC_MASK_ALL, handler, EXCEPTION_DEFAULT,
                                 THREAD_STATE_NONE) == KERN_NOT_SUPPORTED);
  CHECK(thread_set_exception_ports(mach_thread_self(), EXC_MASK_ALL, handler, EXCEPTION_DEFAULT,
                                   THREAD_STATE_NONE) == KERN_NOT_SUPPORTED);
  exception_mask_t mask = 0;
  mach_port_t port = MACH_PORT_NULL;
  exception_behavior_t behavior = 0;
  thread_state_flavor_t flavor = 0;
  mach_msg_type_number_t count = 1;
  CHECK(task_swap_exception_ports(self, EXC_MASK_ALL, handler, EXCEPTION_DEFAULT, THREAD_STATE_NONE,
                                  &mask, &count, &port, &behavior, &flavor) == KERN_NOT_SUPPORTED);
  CHECK(thread_swap_exception_ports(mach_thread_self(), EXC_MASK_ALL, MACH_PORT_NULL, 0,
                                    THREAD_STATE_NONE, &mask, &count, &port, &behavior,
                                    &flavor) == KERN_SUCCESS);
}

TEST_CASE("pthread_mach_thread_np names the thread's port without another reference") {
  const mach_port_t thread = mach_thread_self();
  CHECK(pthread_mach_thread_np(pthread_self()) == thread);
  const auto references = refs_of(thread, MACH_PORT_RIGHT_SEND);
  CHECK(pthread_mach_thread_np(pthread_self()) == thread);
  CHECK(refs_of(thread, MACH_PORT_RIGHT_SEND) == references);
  CHECK(mach_port_deallocate(self, thread) == KERN_SUCCESS);
}

TEST_CASE("host_page_size gives the size that PAGE_SIZE, PAGE_MASK and PAGE_SHIFT have") {
  vm_size_t size = 0;
  CHECK(host_page_size(mach_host_self(), &size) == KERN_SUCCESS);
  CHECK(size == vm_page_size);
  CHECK(PAGE_SIZE == size);
  CHECK(PAGE_MASK == size - 1);
  CHECK((vm_size_t{1} << PAGE_SHIFT) == size);
}

TEST_CASE("the system's clock is the absolute one, the calendar's is the time of day") {
  clock_serv_t system = MACH_PORT_NULL, calendar = MACH_PORT_NULL;
  REQUIRE(host_get_clock_service(mach_host_self(), SYSTEM_CLOCK, &system) == KERN_SUCCESS);
  REQUIRE(host_get_clock_service(mach_host_self(), CALENDAR_CLOCK, &calendar) == KERN_SUCCESS);
  CHECK(system != calendar);
  CHECK(type_of(system) == MACH_PORT_TYPE_SEND);
  mach_timespec_t before{}, after{}, day{};
  REQUIRE(clock_get_time(system, &before) == KERN_SUCCESS);
  REQUIRE(clock_get_time(system, &after) == KERN_SUCCESS);
  CHECK(CMP_MACH_TIMESPEC(&after, &before) >= 0);
  CHECK(!BAD_MACH_TIMESPEC(&after));
  const time_t now = time(nullptr);
  REQUIRE(clock_get_time(calendar, &day) == KERN_SUCCESS);
  CHECK(static_cast<time_t>(day.tv_sec) >= now);
  int resolution = 0;
  mach_msg_type_number_t count = 1;
  CHECK(clock_get_attributes(system, CLOCK_GET_TIME_RES, &resolution, &count) == KERN_SUCCESS);
  CHECK(resolution == NSEC_PER_SEC / 100);
  CHECK(clock_get_attributes(calendar, CLOCK_ALARM_CURRES, &resolution, &count) == KERN_SUCCESS);
  CHECK(resolution == 0);
  CHECK(clock_get_attributes(system, 99, &resolution, &count) == KERN_INVALID_VALUE);
  CHECK(mach_port_deallocate(self, system) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(self, calendar) == KERN_SUCCESS);
}

TEST_CASE(
    "host_get_clock_service and clock_get_time refuse other ports than a host's and a clock's") {
  clock_serv_t clock = MACH_PORT_NULL;
  const mach_port_t host = mach_host_self();
  CHECK(host_get_clock_service(host, 2, &clock) == KERN_INVALID_ARGUMENT);
  CHECK(host_get_clock_service(host, -1, &clock) == KERN_INVALID_ARGUMENT);
  CHECK(host_get_clock_service(new_service(), SYSTEM_CLOCK, &clock) == KERN_INVALID_ARGUMENT);
  CHECK(host_get_clock_service(MACH_PORT_NULL, SYSTEM_CLOCK, &clock) == MACH_SEND_INVALID_DEST);
  mach_timespec_t now{};
  CHECK(clock_get_time(new_service(), &now) == KERN_INVALID_ARGUMENT);
  CHECK(clock_get_time(MACH_PORT_NULL, &now) == MACH_SEND_INVALID_DEST);
}
