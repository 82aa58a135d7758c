// Time-outs by a clock of the program's (extension.h): nothing here waits for real time.
#include <doctest/doctest.h>

#include <mach/mach_time.h>
#include <mach/semaphore.h>
#include <mach/task.h>

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "clock_in_c.h"
#include "kedge/mach/kernel/extension.h"
#include "test_message.h"
#include "virtual_clock.h"

using namespace test;

namespace {

using namespace kedge::mach::kernel;

const auto linux_only = doctest::skip(!has_many_tasks());

// A thread that makes one call. Another thread can ask whether the call has returned.
class caller {
 public:
  explicit caller(std::function<kern_return_t()> call)
      : thread_([this, call = std::move(call)] {
          result_ = call();
          done_ = true;
        }) {}
  ~caller() {
    if (thread_.joinable()) thread_.join();
  }
  caller(const caller&) = delete;
  caller& operator=(const caller&) = delete;

  bool is_done() const { return done_; }
  kern_return_t result() {
    thread_.join();
    return result_;
  }
  std::thread& thread() { return thread_; }

 private:
  kern_return_t result_ = KERN_SUCCESS;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// Checks that a call that has read the clock, and whose time has not come, reads it again when
// clock_moved() is called: a call that was about to time out would not.
void check_still_waits(virtual_clock& clock, const caller& waiting) {
  const std::uint64_t before = clock.readings();
  clock.advance(0);
  while (clock.readings() == before && !waiting.is_done()) std::this_thread::yield();
  CHECK(clock.readings() > before);
}

// Checks that the call waits until the clock has moved by `limit`, and what it returns then. A wait
// reads the clock twice: for its deadline, and before it sleeps.
void check_times_out(std::function<kern_return_t()> call, std::uint64_t limit,
                     kern_return_t result) {
  virtual_clock clock;
  caller waiting(std::move(call));
  clock.await_readings(2);
  clock.advance(limit - 1);
  clock.await_readings(3);
  check_still_waits(clock, waiting);
  clock.advance(1);
  CHECK(waiting.result() == result);
}

mach_msg_return_t receive(mach_port_name_t from, mach_msg_timeout_t timeout) {
  message m;
  return mach_msg(&m.header(), MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m.bytes, from, timeout,
                  MACH_PORT_NULL);
}

mach_msg_return_t send(mach_port_name_t to, mach_msg_timeout_t timeout) {
  message m(to, MACH_MSG_TYPE_COPY_SEND);
  return mach_msg(&m.header(), MACH_SEND_MSG | MACH_SEND_TIMEOUT, m.size, 0, MACH_PORT_NULL,
                  timeout, MACH_PORT_NULL);
}

}  // namespace

TEST_CASE("a receive times out when the program's clock has passed its time-out" * linux_only) {
  const mach_port_name_t port = new_port();
  check_times_out([port] { return receive(port, 3600000); }, hour, MACH_RCV_TIMED_OUT);
}

TEST_CASE("a send to a full queue times out by the program's clock" * linux_only) {
  const mach_port_name_t port = new_service();
  REQUIRE(set_limit(port, 0) == KERN_SUCCESS);
  check_times_out([port] { return send(port, 3600000); }, hour, MACH_SEND_TIMED_OUT);
}

TEST_CASE("a wait for a semaphore times out by the program's clock" * linux_only) {
  semaphore_t at = MACH_PORT_NULL;
  REQUIRE(semaphore_create(mach_task_self(), &at, SYNC_POLICY_FIFO, 0) == KERN_SUCCESS);
  check_times_out([at] { return semaphore_timedwait(at, {3600, 0}); }, hour,
                  KERN_OPERATION_TIMED_OUT);
  semaphore_destroy(mach_task_self(), at);
}

TEST_CASE("mach_wait_until waits for the program's clock, which mach_absolute_time reads" *
          linux_only) {
  {
    const virtual_clock clock;
    CHECK(mach_absolute_time() == 5 * hour);
    CHECK(mach_approximate_time() == 5 * hour);
    CHECK(mach_continuous_time() == 5 * hour);
    CHECK(mach_continuous_approximate_time() == 5 * hour);
    CHECK(mach_wait_until(5 * hour) == KERN_SUCCESS);
  }
  check_times_out([] { return mach_wait_until(mach_absolute_time() + hour); }, hour, KERN_SUCCESS);
}

TEST_CASE("a message, a signal and a semaphore's signal end waits while the clock stands" *
          linux_only) {
  const virtual_clock clock;
  const mach_port_name_t port = new_service();
  caller receiver([port] { return receive(port, 1); });
  clock.await_readings(2);
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  CHECK(receiver.result() == MACH_MSG_SUCCESS);

  semaphore_t at = MACH_PORT_NULL;
  REQUIRE(semaphore_create(mach_task_self(), &at, SYNC_POLICY_FIFO, 0) == KERN_SUCCESS);
  caller waiter([at] { return semaphore_timedwait(at, {0, 1}); });
  clock.await_readings(4);
  CHECK(semaphore_signal(at) == KERN_SUCCESS);
  CHECK(waiter.result() == KERN_SUCCESS);
  semaphore_destroy(mach_task_self(), at);

  struct sigaction action{};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR2, &action, nullptr);
  caller sleeper([] { return mach_wait_until(100 * hour); });
  while (!sleeper.is_done()) {
    pthread_kill(sleeper.thread().native_handle(), SIGUSR2);
    std::this_thread::yield();
  }
  CHECK(sleeper.result() == KERN_ABORTED);
}

TEST_CASE("one move of the clock ends all waits that are due, and no other" * linux_only) {
  virtual_clock clock;
  const mach_port_name_t early = new_port(), late = new_service();
  caller first([early] { return receive(early, 1000); });
  caller second([early] { return receive(early, 1000); });
  caller third([late] { return receive(late, 2000); });
  clock.await_readings(6);
  clock.advance(1'000'000'000);
  CHECK(first.result() == MACH_RCV_TIMED_OUT);
  CHECK(second.result() == MACH_RCV_TIMED_OUT);
  clock.await_readings(9);
  check_still_waits(clock, third);
  REQUIRE(message(late, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  CHECK(third.result() == MACH_MSG_SUCCESS);
}

TEST_CASE("calls that poll or wait without a time-out do not read the program's clock" *
          linux_only) {
  const virtual_clock clock;
  const mach_port_name_t port = new_port();
  CHECK(receive(port, 0) == MACH_RCV_TIMED_OUT);
  message m;
  caller receiver([&] {
    return mach_msg(&m.header(), MACH_RCV_MSG, 0, sizeof m.bytes, port, 0, MACH_PORT_NULL);
  });
  REQUIRE(message(port, MACH_MSG_TYPE_MAKE_SEND_ONCE, 4).send() == MACH_MSG_SUCCESS);
  CHECK(receiver.result() == MACH_MSG_SUCCESS);
  CHECK(clock.readings() == 0);
}

TEST_CASE("a fork's child keeps the program's clock, and none of its parent's waits" * linux_only) {
  virtual_clock clock;
  const mach_port_name_t port = new_service();
  caller waiting([port] { return receive(port, 1); });
  clock.await_readings(2);
  const pid_t child = fork();
  if (child == 0) {
    clock.advance(hour);
    const bool keeps =
        mach_absolute_time() == 6 * hour && mach_wait_until(6 * hour) == KERN_SUCCESS;
    _exit(keeps ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  check_still_waits(clock, waiting);
  clock.advance(hour);
  CHECK(waiting.result() == MACH_RCV_TIMED_OUT);
}

TEST_CASE("the clock of the machine is back once the program restores it" * linux_only) {
  const std::uint64_t before = mach_absolute_time();
  {
    const virtual_clock clock;
  }
  const std::uint64_t after = mach_absolute_time();
  CHECK(after >= before);
  CHECK(after - before < hour);
  CHECK(receive(new_port(), 1) == MACH_RCV_TIMED_OUT);
}

TEST_CASE("a program in C sets and moves the clock, or is refused on Darwin") {
  CHECK(use_clock_in_c() == 0);
}
