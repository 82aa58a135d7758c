// kedge/mach/kernel/extension.h: several tasks in one process.
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;
using kedge::mach::kernel::create_task;
using kedge::mach::kernel::current_task_guard;
using kedge::mach::kernel::task_self_port;
using kedge::mach::kernel::terminate_task;

namespace {

constexpr mach_port_name_t chosen = 0x00abcd03;

// On Darwin a process is one task.
const auto several_tasks = doctest::skip(!kedge::mach::kernel::has_many_tasks());

// Gives the task a send right to the port, under the name `chosen`.
void give(kedge::mach::kernel::task to, mach_port_name_t port) {
  const mach_port_t self = task_self_port(to);
  REQUIRE(mach_port_insert_right(self, chosen, port, MACH_MSG_TYPE_MAKE_SEND) == KERN_SUCCESS);
  REQUIRE(mach_port_deallocate(mach_task_self(), self) == KERN_SUCCESS);
}

}  // namespace

TEST_CASE("a name of one task is unknown in another, and both have the reserved names" *
          several_tasks) {
  const mach_port_name_t port = new_service();
  const auto other = create_task();
  {
    const current_task_guard there(other);
    CHECK(type_of(port) == 0);
    CHECK(type_of(mach_task_self()) == MACH_PORT_TYPE_SEND);
    CHECK(type_of(new_port()) == MACH_PORT_TYPE_RECEIVE);
  }
  CHECK(type_of(port) == MACH_PORT_TYPE_SEND_RECEIVE);
  terminate_task(other);
}

TEST_CASE("the audit token distinguishes two sending tasks of one process" * several_tasks) {
  const mach_port_name_t port = new_service();
  const auto one = create_task(), two = create_task();
  unsigned versions[2]{};
  int index = 0;
  for (const auto each : {one, two}) {
    CAPTURE(index);
    give(each, port);
    {
      const current_task_guard there(each);
      REQUIRE(message(chosen, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
    }
    message m;
    REQUIRE(m.receive(port, MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT)) == MACH_MSG_SUCCESS);
    CHECK(m.trailer().msgh_audit.val[5] == static_cast<unsigned>(getpid()));
    versions[index++] = m.trailer().msgh_audit.val[7];
  }
  CHECK(versions[0] != versions[1]);
  terminate_task(one);
  terminate_task(two);
}

TEST_CASE("terminate_task destroys a task's rights, notifies its peers and fails its later calls" *
          several_tasks) {
  const mach_port_name_t port = new_port(), notify = new_port();
  const auto other = create_task();
  give(other, port);
  REQUIRE(request(port, MACH_NOTIFY_NO_SENDERS, 0, notify) == KERN_SUCCESS);
  mach_port_t self = task_self_port(other);
  mach_port_name_t theirs = MACH_PORT_NULL, ours = MACH_PORT_NULL;
  mach_msg_type_name_t type = 0;
  REQUIRE(mach_port_allocate(self, MACH_PORT_RIGHT_RECEIVE, &theirs) == KERN_SUCCESS);
  REQUIRE(mach_port_extract_right(self, theirs, MACH_MSG_TYPE_MAKE_SEND, &ours, &type) ==
          KERN_SUCCESS);
  REQUIRE(request(ours, MACH_NOTIFY_DEAD_NAME, 0, notify) == KERN_SUCCESS);
  CHECK(next_id(notify) == -1);
  terminate_task(other);
  const mach_msg_id_t first = next_id(notify), second = next_id(notify);
  CHECK(first + second == MACH_NOTIFY_NO_SENDERS + MACH_NOTIFY_DEAD_NAME);
  CHECK(type_of(ours) == MACH_PORT_TYPE_DEAD_NAME);
  CHECK(mach_port_allocate(self, MACH_PORT_RIGHT_RECEIVE, &theirs) == MACH_SEND_INVALID_DEST);
  CHECK(task_self_port(other) == MACH_PORT_DEAD);
  const current_task_guard there(other);
  CHECK(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &theirs) == KERN_TERMINATED);
  message m;
  CHECK(m.receive(theirs) == MACH_RCV_INVALID_NAME);
  CHECK(message(chosen, MACH_MSG_TYPE_COPY_SEND).send() == MACH_SEND_INVALID_DEST);
}

TEST_CASE("terminate_task ends a receive and a send on which the task's threads wait" *
          several_tasks) {
  const mach_port_name_t port = new_port();
  set_limit(port, 0);
  const auto other = create_task();
  give(other, port);
  std::atomic<int> begun{0};
  std::thread receiver([&] {
    const current_task_guard there(other);
    const mach_port_name_t own = new_port();
    ++begun;
    message m;
    const mach_msg_return_t result =
        mach_msg(&m.header(), MACH_RCV_MSG, 0, sizeof m.bytes, own, 0, 0);
    CHECK((result == MACH_RCV_PORT_DIED || result == MACH_RCV_INVALID_NAME));
  });
  std::thread sender([&] {
    const current_task_guard there(other);
    message m(chosen, MACH_MSG_TYPE_COPY_SEND);
    ++begun;
    CHECK(mach_msg(&m.header(), MACH_SEND_MSG, m.size, 0, 0, 0, 0) == MACH_SEND_INVALID_DEST);
  });
  while (begun < 2) std::this_thread::yield();
  terminate_task(other);
  receiver.join();
  sender.join();
  CHECK(status_of(port).mps_srights == 0);
}

TEST_CASE("ten children of forks during calls have no right of the parent and a working kernel") {
  const mach_port_name_t port = new_service();
  std::atomic<bool> stop{false};
  // This thread may hold the parent's locks at the moment of the fork. The child must not need
  // them.
  std::thread busy([&] {
    message m;
    while (!stop) {
      message(port, MACH_MSG_TYPE_COPY_SEND).send();
      m.receive(port);
    }
  });
  for (int round = 0; round < 10; ++round) {
    CAPTURE(round);
    const pid_t child = fork();
    if (child == 0) {
      if (type_of(port) != 0) _exit(1);
      const mach_port_name_t own = new_service();
      message m(own, MACH_MSG_TYPE_COPY_SEND, 3);
      if (m.send() != MACH_MSG_SUCCESS ||
          m.receive(own, MACH_RCV_TRAILER_ELEMENTS(3)) != MACH_MSG_SUCCESS)
        _exit(2);
      if (m.trailer().msgh_audit.val[5] != static_cast<unsigned>(getpid())) _exit(3);
      _exit(0);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  stop = true;
  busy.join();
}
