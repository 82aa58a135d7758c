// Mach semaphores (sync_sema.c): counts, waits, policies, ownership.
#include <doctest/doctest.h>

#include <mach/semaphore.h>
#include <mach/task.h>

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

semaphore_t new_semaphore(int value = 0, int policy = SYNC_POLICY_FIFO) {
  semaphore_t made = MACH_PORT_NULL;
  REQUIRE(semaphore_create(mach_task_self(), &made, policy, value) == KERN_SUCCESS);
  return made;
}

constexpr mach_timespec_t no_time{0, 0}, short_time{0, 1000000};

// Waits until a thread waits at the semaphore, and wakes it.
void wake_one(semaphore_t at) {
  while (semaphore_signal_thread(at, MACH_PORT_NULL) == KERN_NOT_WAITING) std::this_thread::yield();
}

// On Darwin a process is one task.
const auto several_tasks = doctest::skip(!kedge::mach::kernel::has_many_tasks());

}  // namespace

TEST_CASE("semaphore_create gives a send right, and refuses a bad value or policy") {
  const semaphore_t made = new_semaphore(1);
  CHECK(type_of(made) == MACH_PORT_TYPE_SEND);
  CHECK(refs_of(made, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(semaphore_destroy(mach_task_self(), made) == KERN_SUCCESS);
  semaphore_t none = MACH_PORT_NULL;
  CHECK(semaphore_create(mach_task_self(), &none, SYNC_POLICY_FIFO, -1) == KERN_INVALID_ARGUMENT);
  CHECK(semaphore_create(mach_task_self(), &none, SYNC_POLICY_FIXED_PRIORITY, 0) ==
        KERN_INVALID_ARGUMENT);
  CHECK(semaphore_create(mach_task_self(), &none, 0x100, 0) == KERN_INVALID_ARGUMENT);
  CHECK(none == MACH_PORT_NULL);
}

TEST_CASE("waits lower the count and signals raise it, and a wait at 0 times out") {
  const semaphore_t at = new_semaphore(2);
  CHECK(semaphore_wait(at) == KERN_SUCCESS);
  CHECK(semaphore_timedwait(at, no_time) == KERN_SUCCESS);
  CHECK(semaphore_timedwait(at, no_time) == KERN_OPERATION_TIMED_OUT);
  CHECK(semaphore_timedwait(at, short_time) == KERN_OPERATION_TIMED_OUT);
  CHECK(semaphore_signal(at) == KERN_SUCCESS);
  CHECK(semaphore_wait(at) == KERN_SUCCESS);
  semaphore_destroy(mach_task_self(), at);
}

TEST_CASE("timedwait refuses a time with bad nanoseconds, and keeps the count") {
  const semaphore_t at = new_semaphore(1);
  CHECK(semaphore_timedwait(at, {0, 1000000000}) == KERN_INVALID_VALUE);
  CHECK(semaphore_timedwait(at, {0, -1}) == KERN_INVALID_VALUE);
  CHECK(semaphore_timedwait_signal(at, at, {0, -1}) == KERN_INVALID_VALUE);
  CHECK(semaphore_timedwait(MACH_PORT_NULL, {0, -1}) == KERN_INVALID_VALUE);
  CHECK(semaphore_timedwait(at, no_time) == KERN_SUCCESS);
  semaphore_destroy(mach_task_self(), at);
}

TEST_CASE("semaphore calls refuse names that are not semaphores") {
  const mach_port_name_t port = new_service(), receive = new_port(),
                         dead = new_port(MACH_PORT_RIGHT_DEAD_NAME);
  // Each refuses with the same codes.
  const std::pair<const char*, kern_return_t (*)(semaphore_t)> operations[] = {
      {"signal", semaphore_signal}, {"signal_all", semaphore_signal_all}, {"wait", semaphore_wait}};
  for (const auto& [call, operation] : operations) {
    CAPTURE(call);
    CHECK(operation(MACH_PORT_NULL) == KERN_INVALID_NAME);
    CHECK(operation(MACH_PORT_DEAD) == KERN_INVALID_NAME);
    CHECK(operation(0x00fff703) == KERN_INVALID_NAME);
    CHECK(operation(receive) == KERN_INVALID_RIGHT);
    CHECK(operation(dead) == KERN_INVALID_RIGHT);
    CHECK(operation(port) == KERN_INVALID_CAPABILITY);
  }
  const semaphore_t at = new_semaphore();
  CHECK(semaphore_wait_signal(at, MACH_PORT_NULL) == KERN_INVALID_NAME);
  CHECK(semaphore_wait_signal(MACH_PORT_NULL, port) == KERN_INVALID_CAPABILITY);
  CHECK(semaphore_wait_signal(MACH_PORT_NULL, at) == KERN_INVALID_NAME);
  CHECK(semaphore_timedwait(at, no_time) == KERN_OPERATION_TIMED_OUT);
  CHECK(semaphore_signal_thread(MACH_PORT_NULL, MACH_PORT_NULL) == KERN_INVALID_NAME);
  CHECK(semaphore_signal_thread(at, 0x00fff703) == KERN_INVALID_ARGUMENT);
  CHECK(semaphore_signal_thread(at, mach_task_self()) == KERN_INVALID_ARGUMENT);
  semaphore_destroy(mach_task_self(), at);
}

TEST_CASE("semaphore_destroy consumes the right, and other rights then give KERN_TERMINATED") {
  const semaphore_t at = new_semaphore(1);
  REQUIRE(mach_port_mod_refs(mach_task_self(), at, MACH_PORT_RIGHT_SEND, 1) == KERN_SUCCESS);
  CHECK(semaphore_destroy(mach_task_self(), at) == KERN_SUCCESS);
  CHECK(refs_of(at, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(semaphore_wait(at) == KERN_TERMINATED);
  CHECK(semaphore_signal(at) == KERN_TERMINATED);
  CHECK(semaphore_signal_all(at) == KERN_TERMINATED);
  CHECK(semaphore_signal_thread(at, MACH_PORT_NULL) == KERN_TERMINATED);
  CHECK(semaphore_timedwait(at, no_time) == KERN_TERMINATED);
  CHECK(semaphore_destroy(mach_task_self(), at) == KERN_SUCCESS);
  CHECK(type_of(at) == 0);
  CHECK(semaphore_destroy(mach_task_self(), at) == MACH_SEND_INVALID_RIGHT);
  CHECK(semaphore_destroy(mach_task_self(), MACH_PORT_NULL) == KERN_INVALID_ARGUMENT);
}

TEST_CASE("semaphore_destroy consumes a send right that is not a semaphore") {
  const mach_port_name_t port = new_service();
  CHECK(semaphore_destroy(mach_task_self(), port) == KERN_INVALID_ARGUMENT);
  CHECK(type_of(port) == MACH_PORT_TYPE_RECEIVE);
}

TEST_CASE("each signal wakes one of three waiters") {
  const semaphore_t at = new_semaphore(), done = new_semaphore();
  std::vector<std::thread> waiters;
  std::atomic<int> woken{0};
  for (int each = 0; each < 3; ++each) {
    waiters.emplace_back([&] {
      CHECK(semaphore_wait(at) == KERN_SUCCESS);
      ++woken;
      semaphore_signal(done);
    });
  }
  for (int each = 1; each <= 3; ++each) {
    CHECK(semaphore_signal(at) == KERN_SUCCESS);
    CHECK(semaphore_wait(done) == KERN_SUCCESS);
    CHECK(woken == each);
  }
  for (std::thread& each : waiters) each.join();
  CHECK(semaphore_timedwait(at, no_time) == KERN_OPERATION_TIMED_OUT);
}

TEST_CASE("signal_thread without a thread wakes a waiter, and does not raise the count") {
  const semaphore_t at = new_semaphore();
  CHECK(semaphore_signal_thread(at, MACH_PORT_NULL) == KERN_NOT_WAITING);
  CHECK(semaphore_timedwait(at, no_time) == KERN_OPERATION_TIMED_OUT);
  std::thread waiter([at] { CHECK(semaphore_wait(at) == KERN_SUCCESS); });
  wake_one(at);
  waiter.join();
}

TEST_CASE("signal_thread wakes the thread that it names") {
  const semaphore_t at = new_semaphore();
  std::atomic<mach_port_t> thread{MACH_PORT_NULL};
  std::thread waiter([&] {
    thread = mach_thread_self();
    CHECK(semaphore_wait(at) == KERN_SUCCESS);
  });
  while (thread == MACH_PORT_NULL) std::this_thread::yield();
  while (semaphore_signal_thread(at, thread) == KERN_NOT_WAITING) std::this_thread::yield();
  waiter.join();
  CHECK(mach_port_deallocate(mach_task_self(), thread) == KERN_SUCCESS);
}

TEST_CASE("signal_all wakes all waiters, and does not raise the count") {
  const semaphore_t at = new_semaphore();
  CHECK(semaphore_signal_all(at) == KERN_SUCCESS);
  CHECK(semaphore_timedwait(at, no_time) == KERN_OPERATION_TIMED_OUT);
  std::vector<std::thread> waiters;
  std::atomic<int> left{3};
  for (int each = 0; each < 3; ++each) {
    waiters.emplace_back([&] {
      CHECK(semaphore_wait(at) == KERN_SUCCESS);
      --left;
    });
  }
  while (left > 0) {
    semaphore_signal_all(at);
    std::this_thread::yield();
  }
  for (std::thread& each : waiters) each.join();
}

TEST_CASE("destroying a semaphore ends its waits with KERN_TERMINATED") {
  const semaphore_t at = new_semaphore(), begun = new_semaphore();
  std::vector<std::thread> waiters;
  for (int each = 0; each < 2; ++each) {
    waiters.emplace_back([&] { CHECK(semaphore_wait_signal(at, begun) == KERN_TERMINATED); });
  }
  CHECK(semaphore_wait(begun) == KERN_SUCCESS);
  CHECK(semaphore_wait(begun) == KERN_SUCCESS);
  mach_port_mod_refs(mach_task_self(), at, MACH_PORT_RIGHT_SEND, 1);
  CHECK(semaphore_destroy(mach_task_self(), at) == KERN_SUCCESS);
  for (std::thread& each : waiters) each.join();
}

TEST_CASE("three waiters are woken in order, with SYNC_POLICY_LIFO in reverse order") {
  for (const bool newest_first : {false, true}) {
    CAPTURE(newest_first);
    const semaphore_t at = new_semaphore(0, newest_first ? SYNC_POLICY_LIFO : SYNC_POLICY_FIFO),
                      begun = new_semaphore(), done = new_semaphore();
    std::vector<std::thread> waiters;
    std::vector<int> order;
    for (int each = 0; each < 3; ++each) {
      waiters.emplace_back([&, each] {
        CHECK(semaphore_wait_signal(at, begun) == KERN_SUCCESS);
        order.push_back(each);
        semaphore_signal(done);
      });
      CHECK(semaphore_wait(begun) == KERN_SUCCESS);  // the waiter is queued now
    }
    for (int each = 0; each < 3; ++each) {
      semaphore_signal(at);
      CHECK(semaphore_wait(done) == KERN_SUCCESS);
    }
    for (std::thread& each : waiters) each.join();
    CHECK(order == (newest_first ? std::vector<int>{2, 1, 0} : std::vector<int>{0, 1, 2}));
  }
}

TEST_CASE("wait_signal signals the other semaphore, whether it has to wait or times out") {
  const semaphore_t at = new_semaphore(1), other = new_semaphore();
  CHECK(semaphore_wait_signal(at, other) == KERN_SUCCESS);
  CHECK(semaphore_timedwait(other, no_time) == KERN_SUCCESS);
  CHECK(semaphore_timedwait_signal(at, other, no_time) == KERN_OPERATION_TIMED_OUT);
  CHECK(semaphore_timedwait(other, no_time) == KERN_SUCCESS);
  CHECK(semaphore_timedwait_signal(at, other, short_time) == KERN_OPERATION_TIMED_OUT);
  CHECK(semaphore_timedwait(other, no_time) == KERN_SUCCESS);
}

TEST_CASE("wait_signal with one semaphore twice returns at once and leaves its count at 0") {
  const semaphore_t at = new_semaphore();
  CHECK(semaphore_wait_signal(at, at) == KERN_SUCCESS);
  CHECK(semaphore_timedwait(at, no_time) == KERN_OPERATION_TIMED_OUT);
}

TEST_CASE("wait_signal fails without a wait if the semaphore to signal is destroyed") {
  const semaphore_t at = new_semaphore(), ended = new_semaphore();
  mach_port_mod_refs(mach_task_self(), ended, MACH_PORT_RIGHT_SEND, 1);
  semaphore_destroy(mach_task_self(), ended);
  CHECK(semaphore_wait_signal(at, ended) == KERN_TERMINATED);
  CHECK(semaphore_signal_thread(at, MACH_PORT_NULL) == KERN_NOT_WAITING);
}

TEST_CASE("a signal handler with SA_RESTART ends a wait with KERN_ABORTED") {
  const semaphore_t at = new_semaphore();
  struct sigaction action{};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR2, &action, nullptr);
  std::atomic<bool> done{false};
  std::thread waiter([&] {
    CHECK(semaphore_wait(at) == KERN_ABORTED);
    done = true;
  });
  while (!done) {
    pthread_kill(waiter.native_handle(), SIGUSR2);
    std::this_thread::yield();
  }
  waiter.join();
  CHECK(semaphore_signal_thread(at, MACH_PORT_NULL) == KERN_NOT_WAITING);
}

TEST_CASE("a semaphore shared by two tasks is destroyed when its owner ends" * several_tasks) {
  using kedge::mach::kernel::current_task_guard;
  const auto owner = kedge::mach::kernel::create_task();
  const mach_port_t self = kedge::mach::kernel::task_self_port(owner);
  semaphore_t at = MACH_PORT_NULL;
  const semaphore_t begun = new_semaphore();
  REQUIRE(semaphore_create(self, &at, SYNC_POLICY_FIFO, 0) == KERN_SUCCESS);
  constexpr mach_port_name_t theirs = 0x00abcd03;
  REQUIRE(mach_port_insert_right(self, theirs, at, MACH_MSG_TYPE_COPY_SEND) == KERN_SUCCESS);
  {
    const current_task_guard there(owner);
    CHECK(semaphore_signal(theirs) == KERN_SUCCESS);
  }
  CHECK(semaphore_wait(at) == KERN_SUCCESS);
  mach_port_mod_refs(mach_task_self(), at, MACH_PORT_RIGHT_SEND, 1);
  // The caller is not the owner: only its right is consumed.
  CHECK(semaphore_destroy(mach_task_self(), at) == KERN_SUCCESS);
  CHECK(semaphore_signal(at) == KERN_SUCCESS);
  CHECK(semaphore_wait(at) == KERN_SUCCESS);
  std::thread waiter([&] { CHECK(semaphore_wait_signal(at, begun) == KERN_TERMINATED); });
  CHECK(semaphore_wait(begun) == KERN_SUCCESS);
  kedge::mach::kernel::terminate_task(owner);
  waiter.join();
  CHECK(semaphore_signal(at) == KERN_TERMINATED);
  semaphore_t none = MACH_PORT_NULL;
  CHECK(semaphore_create(self, &none, SYNC_POLICY_FIFO, 0) == MACH_SEND_INVALID_DEST);
}

TEST_CASE("terminate_task ends the wait of a thread of the task with KERN_TERMINATED" *
          several_tasks) {
  using kedge::mach::kernel::current_task_guard;
  const auto other = kedge::mach::kernel::create_task();
  const mach_port_t self = kedge::mach::kernel::task_self_port(other);
  const semaphore_t at = new_semaphore(), begun = new_semaphore();
  constexpr mach_port_name_t there_at = 0x00abcd03, there_begun = 0x00abce03;
  REQUIRE(mach_port_insert_right(self, there_at, at, MACH_MSG_TYPE_COPY_SEND) == KERN_SUCCESS);
  REQUIRE(mach_port_insert_right(self, there_begun, begun, MACH_MSG_TYPE_COPY_SEND) ==
          KERN_SUCCESS);
  std::thread waiter([other] {
    const current_task_guard there(other);
    CHECK(semaphore_wait_signal(there_at, there_begun) == KERN_TERMINATED);
  });
  CHECK(semaphore_wait(begun) == KERN_SUCCESS);
  kedge::mach::kernel::terminate_task(other);
  waiter.join();
  CHECK(semaphore_signal_thread(at, MACH_PORT_NULL) == KERN_NOT_WAITING);
}

TEST_CASE("6,000 signals of three threads end 6,000 waits of three others") {
  const semaphore_t at = new_semaphore();
  constexpr int pairs = 3, each_gives = 2000;
  std::vector<std::thread> threads;
  std::atomic<int> taken{0};
  for (int number = 0; number < pairs; ++number) {
    threads.emplace_back([at] {
      for (int each = 0; each < each_gives; ++each) semaphore_signal(at);
    });
    threads.emplace_back([&] {
      for (int each = 0; each < each_gives; ++each) {
        if (semaphore_wait(at) == KERN_SUCCESS) ++taken;
      }
    });
  }
  for (std::thread& each : threads) each.join();
  CHECK(taken == pairs * each_gives);
  CHECK(semaphore_timedwait(at, no_time) == KERN_OPERATION_TIMED_OUT);
}
