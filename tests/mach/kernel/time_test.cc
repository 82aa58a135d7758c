// <mach/mach_time.h> and <mach/mach_error.h>: clocks, mach_wait_until(), error texts.
#include <doctest/doctest.h>

#include <mach/mach.h>
#include <mach/mach_time.h>

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <string>
#include <thread>

TEST_CASE("the clocks are monotonic, and the approximate ones are not ahead of the exact ones") {
  mach_timebase_info_data_t base{};
  REQUIRE(mach_timebase_info(&base) == KERN_SUCCESS);
  CHECK(base.numer > 0);
  CHECK(base.denom > 0);
  const std::uint64_t absolute = mach_absolute_time(), continuous = mach_continuous_time();
  CHECK(mach_absolute_time() >= absolute);
  CHECK(mach_continuous_time() >= continuous);
  // The continuous clock is ahead by the time that the machine has slept.
  CHECK(mach_continuous_time() >= absolute);
  CHECK(mach_approximate_time() <= mach_absolute_time());
  const std::uint64_t later = mach_continuous_approximate_time();
  CHECK(later <= mach_continuous_time());
}

TEST_CASE("mach_wait_until returns at its deadline, not before") {
  const std::uint64_t until = mach_absolute_time() + 1000000;
  CHECK(mach_wait_until(until) == KERN_SUCCESS);
  CHECK(mach_absolute_time() >= until);
  CHECK(mach_wait_until(0) == KERN_SUCCESS);
}

TEST_CASE("a signal handler ends mach_wait_until with KERN_ABORTED") {
  struct sigaction action{};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR2, &action, nullptr);
  std::atomic<bool> done{false};
  kern_return_t result = KERN_SUCCESS;
  std::thread waiter([&] {
    result = mach_wait_until(~std::uint64_t{0} / 2);
    done = true;
  });
  // The first signals may come before the thread waits.
  while (!done) {
    pthread_kill(waiter.native_handle(), SIGUSR2);
    std::this_thread::yield();
  }
  waiter.join();
  CHECK(result == KERN_ABORTED);
}

TEST_CASE("mach_error_string and mach_error_type give Apple's texts") {
  const auto text = [](mach_error_t code) { return std::string(mach_error_string(code)); };
  CHECK(text(KERN_SUCCESS) == "(os/kern) successful");
  CHECK(text(KERN_INVALID_CAPABILITY) == "(os/kern) invalid capability");
  CHECK(text(KERN_NOT_FOUND) == "(os/kern) result not found");
  CHECK(text(57) == "unknown error code");
  CHECK(text(MACH_SEND_INVALID_DEST) == "(ipc/send) invalid destination port");
  CHECK(text(MACH_SEND_NO_GRANT_DEST) == "(ipc/send) destination does not accept OOL ports");
  CHECK(text(MACH_RCV_PORT_CHANGED) == "(ipc/rcv) port changed");
  CHECK(text(MACH_RCV_IN_PROGRESS_TIMED) == "unknown error code");
  CHECK(text(MIG_BAD_ID) == "(ipc/mig) bad request message ID");
  CHECK(text(MIG_TRAILER_ERROR) == "(ipc/mig) unknown trailer format");
  CHECK(text(4 << 26 | 3 << 14) == "(ipc/?) unknown subsystem error");
  CHECK(std::string(mach_error_type(KERN_FAILURE)) == "(os/kern)");
  CHECK(std::string(mach_error_type(MACH_RCV_TIMED_OUT)) == "(ipc/rcv)");
}

TEST_CASE("every code of the kernel and of mach_msg has a text") {
  for (kern_return_t code = 0; code <= KERN_NOT_FOUND; ++code) {
    CAPTURE(code);
    CHECK(std::string(mach_error_string(code)).substr(0, 10) == "(os/kern) ");
  }
  for (kern_return_t code = MACH_SEND_IN_PROGRESS; code <= MACH_SEND_NO_GRANT_DEST; ++code) {
    CAPTURE(code);
    CHECK(std::string(mach_error_string(code)).substr(0, 11) == "(ipc/send) ");
  }
  for (kern_return_t code = MACH_RCV_IN_PROGRESS; code <= MACH_RCV_INVALID_TRAILER; ++code) {
    CAPTURE(code);
    CHECK(std::string(mach_error_string(code)).substr(0, 10) == "(ipc/rcv) ");
  }
}
