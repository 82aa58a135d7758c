// fork(): the child has an empty space of its own, and calls in progress on the parent's other
// threads do not block it.
#include <doctest/doctest.h>

#include <errno.h>
#include <mach/mig.h>
#include <sys/event.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

// Runs `check` in a child. Returns the number of the check that failed there, 0 if none did.
int in_child(const std::function<int()>& check) {
  const pid_t child = fork();
  if (child == 0) _exit(check());
  int status = -1;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

// Returns true if the calling process can send itself a message.
bool has_working_kernel() {
  const mach_port_name_t port = new_service();
  return message(port, MACH_MSG_TYPE_COPY_SEND, 3).send() == MACH_MSG_SUCCESS && next_id(port) == 3;
}

}  // namespace

TEST_CASE("the child has none of the parent's rights, and a working kernel") {
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET),
                         once = new_send_once(port);
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 9).send() == MACH_MSG_SUCCESS);
  CHECK(in_child([&] {
          if (type_of(port) != 0 || type_of(set) != 0 || type_of(once) != 0) return 1;
          if (type_of(mach_task_self()) != MACH_PORT_TYPE_SEND) return 2;
          if (message(port, MACH_MSG_TYPE_COPY_SEND).send() != MACH_SEND_INVALID_DEST) return 3;
          return has_working_kernel() ? 0 : 4;
        }) == 0);
  CHECK(next_id(port) == 9);
  CHECK(type_of(once) == MACH_PORT_TYPE_SEND_ONCE);
}

TEST_CASE("calls and the end of the child have no effect on the parent's ports") {
  const mach_port_name_t port = new_service(), notify = new_port();
  REQUIRE(request(port, MACH_NOTIFY_NO_SENDERS, 1, notify) == KERN_SUCCESS);
  CHECK(in_child([&] {
          for (int each = 0; each < 300; ++each) new_service();
          mach_port_destruct(mach_task_self(), port, 0, 0);
          return 0;
        }) == 0);
  CHECK(next_id(notify) == -1);
  CHECK(type_of(port) == MACH_PORT_TYPE_SEND_RECEIVE);
}

TEST_CASE("a child's child has a space of its own too") {
  CHECK(in_child([] {
          const mach_port_name_t port = new_service();
          const int inner = in_child([port] {
            return type_of(port) != 0 ? 1 : has_working_kernel() ? 0 : 2;
          });
          return inner != 0 ? inner : type_of(port) == MACH_PORT_TYPE_SEND_RECEIVE ? 0 : 3;
        }) == 0);
}

TEST_CASE("a fork while other threads wait in calls, or make them, gives a working child") {
  const mach_port_name_t quiet = new_port(), full = new_service(), busy = new_service();
  REQUIRE(set_limit(full, 1) == KERN_SUCCESS);
  REQUIRE(message(full, MACH_MSG_TYPE_COPY_SEND, 1).send() == MACH_MSG_SUCCESS);
  semaphore_t semaphore = SEMAPHORE_NULL;
  REQUIRE(semaphore_create(mach_task_self(), &semaphore, SYNC_POLICY_FIFO, 0) == KERN_SUCCESS);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  threads.emplace_back([quiet] {
    message m;
    mach_msg(&m.header(), MACH_RCV_MSG, 0, sizeof m.bytes, quiet, 0, MACH_PORT_NULL);
  });
  threads.emplace_back([full] {
    message m(full, MACH_MSG_TYPE_COPY_SEND, 2);
    mach_msg(&m.header(), MACH_SEND_MSG, m.size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
  });
  threads.emplace_back([semaphore] { semaphore_wait(semaphore); });
  threads.emplace_back([&] {
    while (!stop) {
      message(busy, MACH_MSG_TYPE_COPY_SEND).send();
      next_id(busy);
    }
  });
  threads.emplace_back([&] {
    while (!stop) {
      const mach_port_name_t name = new_service();
      mach_port_destruct(mach_task_self(), name, -1, 0);
    }
  });
  for (int round = 0; round < 10; ++round) {
    CAPTURE(round);
    CHECK(in_child([&] {
            if (type_of(quiet) != 0 || type_of(semaphore) != 0) return 1;
            return has_working_kernel() ? 0 : 2;
          }) == 0);
  }
  stop = true;
  REQUIRE(end_receive(quiet) == KERN_SUCCESS);
  CHECK(semaphore_destroy(mach_task_self(), semaphore) == KERN_SUCCESS);
  CHECK(next_id(full) == 1);
  for (std::thread& each : threads) each.join();
  CHECK(next_id(full) == 2);
}

TEST_CASE("a kqueue of the child watches the child's ports, the parent's still the parent's") {
  const mach_port_name_t port = new_service();
  const int queue = kqueue();
  kevent64_s change{};
  change.ident = port;
  change.filter = EVFILT_MACHPORT;
  change.flags = EV_ADD;
  REQUIRE(kevent64(queue, &change, 1, nullptr, 0, 0, nullptr) == 0);
  CHECK(in_child([&] {
          const int own = kqueue();
          kevent64_s mine = change, event{};
          const timespec now{};
          if (kevent64(own, &mine, 1, &event, 1, 0, &now) != 1 || event.data != ENOENT) return 1;
          mine.ident = new_service();
          if (kevent64(own, &mine, 1, nullptr, 0, 0, nullptr) != 0) return 2;
          message(static_cast<mach_port_name_t>(mine.ident), MACH_MSG_TYPE_COPY_SEND).send();
          return kevent64(own, nullptr, 0, &event, 1, 0, &now) == 1 ? 0 : 3;
        }) == 0);
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  kevent64_s event{};
  const timespec now{};
  CHECK(kevent64(queue, nullptr, 0, &event, 1, 0, &now) == 1);
  close(queue);
}

TEST_CASE("the child gets a reply port of its own, and the parent keeps its own") {
  const mach_port_t ours = mig_get_reply_port();
  CHECK(in_child([] { return type_of(mig_get_reply_port()) == MACH_PORT_TYPE_RECEIVE ? 0 : 1; }) ==
        0);
  CHECK(mig_get_reply_port() == ours);
}

// On Darwin a process is one task.
TEST_CASE("the child of a fork in another task has only the process's own task" *
          doctest::skip(!kedge::mach::kernel::has_many_tasks())) {
  using namespace kedge::mach::kernel;
  const task other = create_task();
  {
    const current_task_guard there(other);
    CHECK(in_child([] { return task_of_thread() == task{} && has_working_kernel() ? 0 : 1; }) == 0);
  }
  terminate_task(other);
}
