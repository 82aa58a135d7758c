// What a world controls of the system that its processes run on: each test has a process that asks
// for it, and would fail if the real system answered.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <mach/mach.h>
#include <mach/mach_time.h>
#include <mach/mk_timer.h>
#include <mach/vm_map.h>
#include <poll.h>
#include <servers/bootstrap.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/event.h>
#include <sys/personality.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/message.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/offload.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/thread_pool.h"
#include "kedge/runtime/when_all.h"
#include "kedge/tools/harness/explore.h"
#include "kedge/tools/harness/loaded_program.h"
#include "kedge/tools/harness/process_heap.h"

#if !defined(__APPLE__)

// A function of later C libraries.
extern "C" void arc4random_buf(void* to, std::size_t size) noexcept;

namespace {

namespace harness = kedge::harness;
using namespace std::chrono_literals;

// Runs one process in a world of this seed.
void run_alone(std::uint64_t seed, std::function<int()> main) {
  harness::world w(seed);
  w.start("alone", std::move(main));
  w.run();
}

// What a failing world says about a process.
std::string failure_of(std::function<int()> main) {
  try {
    run_alone(1, std::move(main));
  } catch (const harness::failure& f) {
    return f.what();
  }
  return "no failure";
}

#define CHECK_MENTIONS(text, part) CHECK_NE((text).find(part), std::string::npos)

using drawing = std::function<std::uint64_t()>;

std::uint64_t drawn_in(std::uint64_t seed, const drawing& draw) {
  std::uint64_t drawn = 0;
  run_alone(seed, [&] {
    drawn = draw();
    return 0;
  });
  return drawn;
}

std::uint64_t read_random_file() {
  const int fd = ::open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  std::uint64_t drawn = 0;
  if (::read(fd, &drawn, sizeof drawn) != sizeof drawn) drawn = 0;
  ::close(fd);
  return drawn;
}

}  // namespace

TEST_CASE("a seed decides the random numbers of a process") {
  struct row {
    const char* source;
    drawing draw;
  };
  const row rows[] = {
      {"getrandom",
       [] {
         std::uint64_t n = 0;
         return ::getrandom(&n, sizeof n, 0) == sizeof n ? n : 0;
       }},
      {"getentropy",
       [] {
         std::uint64_t n = 0;
         return ::getentropy(&n, sizeof n) == 0 ? n : 0;
       }},
      {"std::random_device", [] { return std::uint64_t{std::random_device()()}; }},
      {"arc4random_buf",
       [] {
         std::uint64_t n = 0;
         ::arc4random_buf(&n, sizeof n);
         return n;
       }},
      {"/dev/urandom", read_random_file},
  };
  for (const row& each : rows) {
    CAPTURE(each.source);
    const std::uint64_t of_five = drawn_in(5, each.draw);
    CHECK_NE(of_five, 0);
    CHECK_EQ(drawn_in(5, each.draw), of_five);
    CHECK_NE(drawn_in(6, each.draw), of_five);
    // Two draws differ, and outside of a world the system answers.
    CHECK_NE(drawn_in(5, [&] { return each.draw() ^ each.draw(); }), 0);
    CHECK_NE(each.draw(), of_five);
  }
}

TEST_CASE("a process has the pid that its peers see in its audit token") {
  const pid_t real = ::getpid();
  std::vector<pid_t> pids;
  harness::world w;
  for (const char* name : {"one", "two"}) {
    w.start(name, [&] {
      pids.push_back(::getpid());
      pid_t by_task = 0;
      return ::pid_for_task(mach_task_self(), &by_task) == 0 && by_task == ::getpid() ? 0 : 1;
    });
  }
  w.run();
  std::ranges::sort(pids);
  REQUIRE_EQ(pids.size(), 2);
  CHECK_EQ(pids[0], 101);
  CHECK_EQ(pids[1], 102);
  CHECK_EQ(w["one"].status(), 0);
  CHECK_EQ(::getpid(), real);
}

TEST_CASE("each process has an environment of its own") {
  ::setenv("KEDGE_OF_THE_TEST", "outside", 1);
  harness::world w;
  const auto set_and_look = [](int argc, char** argv) {
    if (std::string(::getenv("KEDGE_OF_THE_TEST")) != "outside") return 1;
    if (::getenv("KEDGE_OF_A_PROCESS") != nullptr) return 2;
    ::setenv("KEDGE_OF_THE_TEST", argv[argc - 1], 1);
    ::setenv("KEDGE_OF_A_PROCESS", argv[argc - 1], 1);
    mach_port_t any = 0;
    for (int i = 0; i < 4; ++i)
      ::mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &any);
    ::mach_port_destroy(mach_task_self(), any);
    return ::getenv("KEDGE_OF_A_PROCESS") == std::string(argv[argc - 1]) &&
                   ::getenv("KEDGE_OF_THE_TEST") == std::string(argv[argc - 1])
               ? 0
               : 3;
  };
  w.start("one", set_and_look, {.arguments = {"first"}});
  w.start("two", set_and_look, {.arguments = {"second"}});
  w.run();
  CHECK_EQ(w["one"].status(), 0);
  CHECK_EQ(w["two"].status(), 0);
  CHECK_EQ(std::string(::getenv("KEDGE_OF_THE_TEST")), "outside");
  CHECK_EQ(::getenv("KEDGE_OF_A_PROCESS"), nullptr);
  ::unsetenv("KEDGE_OF_THE_TEST");
}

// --- The outside ---------------------------------------------------------------------------------

namespace {

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  REQUIRE_EQ(::pipe(ends.data()), 0);
  return ends;
}

// Waits with kevent() for one event.
int wait_for(uintptr_t ident, int filter, unsigned fflags = 0) {
  const intptr_t amount = filter == EVFILT_TIMER ? 5 : 0;
  const int kq = ::kqueue();
  struct kevent change{};
  EV_SET(&change, ident, static_cast<std::int16_t>(filter), EV_ADD, fflags, amount, nullptr);
  struct kevent event{};
  const int count = ::kevent(kq, &change, 1, &event, 1, nullptr);
  ::close(kq);
  return count;
}

}  // namespace

TEST_CASE("a wait for a real descriptor or signal ends the run, and says which call it was") {
  const std::array<int, 2> ends = make_pipe();
  int sockets[2]{};
  REQUIRE_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  const std::string fd = std::to_string(ends[0]);
  char byte = 0;
  pollfd asked{ends[0], POLLIN, 0};
  struct row {
    std::string told;
    std::function<int()> main;
  };
  const row rows[] = {
      {"waits in kevent() for fd " + fd,
       [&] { return wait_for(static_cast<uintptr_t>(ends[0]), EVFILT_READ); }},
      {"waits in kevent() for signal " + std::to_string(SIGUSR2),
       [] { return wait_for(SIGUSR2, EVFILT_SIGNAL); }},
      {"would block in read(), on fd " + fd,
       [&] { return static_cast<int>(::read(ends[0], &byte, 1)); }},
      {"would block in recv(), on fd " + std::to_string(sockets[0]),
       [&] { return static_cast<int>(::recv(sockets[0], &byte, 1, 0)); }},
      {"would block in poll()", [&] { return ::poll(&asked, 1, 10); }},
      {"would block in ppoll()", [&] { return ::ppoll(&asked, 1, nullptr, nullptr); }},
      {"would block in sigwait()",
       [] {
         sigset_t none{};
         int signal = 0;
         return ::sigwait(&none, &signal);
       }},
      {"would block in waitpid()", [] { return ::waitpid(-1, nullptr, 0); }},
      {"calls fork()", [] { return ::fork(); }},
      {"calls system()", [] { return ::system("true"); }},
      {"calls pthread_create()",
       [] {
         std::thread([] {}).join();
         return 0;
       }},
  };
  for (const row& each : rows) {
    const std::string told = failure_of(each.main);
    CAPTURE(told);
    CHECK_MENTIONS(told, "NOT REPRODUCIBLE: \"alone\" " + each.told);
  }
  for (const int each : {ends[0], ends[1], sockets[0], sockets[1]}) ::close(each);
}

TEST_CASE("the report of a wait for a real descriptor has the line of the task that waits") {
  const std::array<int, 2> ends = make_pipe();
  const std::string told = failure_of([&] {
    kedge::loop l;
    const auto main = [&]() -> kedge::task<> {
      kedge::descriptor end(l, ends[0], kedge::ownership::owned);
      static_cast<void>(co_await end.readable());
    };
    l.run(main());
    return 0;
  });
  CAPTURE(told);
  CHECK_MENTIONS(told, "NOT REPRODUCIBLE: \"alone\" waits in kevent() for fd");
  CHECK_MENTIONS(told, "controlled_test.cc:");
  ::close(ends[1]);
}

TEST_CASE("what a real descriptor has ready does not end the run") {
  const std::array<int, 2> ends = make_pipe();
  run_alone(1, [&] {
    char byte = 'x';
    if (::write(ends[1], &byte, 1) != 1) return 1;
    pollfd asked{ends[0], POLLIN, 0};
    return ::poll(&asked, 1, -1) == 1 && ::read(ends[0], &byte, 1) == 1 ? 0 : 2;
  });
  for (const int each : ends) ::close(each);
}

TEST_CASE("offload runs its function at a later step of the process, on no thread") {
  std::vector<std::string> seen;
  harness::world w;
  w.start("alone", [&] {
    kedge::loop l;
    const auto main = [&]() -> kedge::task<int> {
      const auto work = [&] {
        seen.push_back(kedge::loop::current() == nullptr ? "work" : "work in the loop");
        return ::getpid();
      };
      seen.push_back("before");
      const int pid = co_await kedge::offload(work);
      seen.push_back("after");
      co_return pid == ::getpid() ? 0 : 1;
    };
    return l.run(main());
  });
  w.run();
  CHECK_EQ(w["alone"].status(), 0);
  CHECK_EQ(seen, std::vector<std::string>{"before", "work", "after"});
}

TEST_CASE("a pool that is destroyed before its function's step does not run it") {
  harness::world w;
  bool has_run = false;
  w.start("alone", [&] {
    kedge::loop l;
    const auto main = [&]() -> kedge::task<int> {
      auto pool = std::make_unique<kedge::thread_pool>(1);
      const auto work = [&] { has_run = true; };
      const auto wait = [&]() -> kedge::task<bool> {
        try {
          co_await kedge::offload(*pool, work);
        } catch (const std::system_error& e) {
          co_return e.code() == kedge::errc::closed;
        }
        co_return false;
      };
      const auto close = [&]() -> kedge::task<> {
        pool.reset();
        co_return;
      };
      auto [is_closed, none] = co_await kedge::when_all(wait(), close());
      static_cast<void>(none);
      co_return is_closed ? 0 : 1;
    };
    return l.run(main());
  });
  w.run();
  CHECK_EQ(w["alone"].status(), 0);
  CHECK_FALSE(has_run);
}

TEST_CASE("a process that is killed in an offloaded function leaves the kernels whole") {
  harness::world w;
  bool has_begun = false;
  harness::process& victim = w.start("victim", [&] {
    kedge::loop l;
    const auto main = [&]() -> kedge::task<int> {
      const auto work = [&] {
        has_begun = true;
        mach_port_t port = 0;
        ::mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port);
        mach_msg_header_t nothing{};
        return ::mach_msg(&nothing, MACH_RCV_MSG, 0, sizeof nothing, port, MACH_MSG_TIMEOUT_NONE,
                          MACH_PORT_NULL);
      };
      co_return co_await kedge::offload(work);
    };
    return l.run(main());
  });
  while (w.step()) {
  }
  CHECK(has_begun);
  victim.kill();
  w.run();
  CHECK(victim.was_killed());
}

TEST_CASE("exit() in an offloaded function ends the process") {
  harness::world w;
  w.start("alone", [] {
    kedge::loop l;
    const auto main = []() -> kedge::task<int> {
      const auto work = [] { ::exit(7); };
      co_await kedge::offload(work);
      co_return 0;
    };
    return l.run(main());
  });
  w.run();
  CHECK_EQ(w["alone"].status(), 7);
}

// --- Clocks --------------------------------------------------------------------------------------

namespace {

constexpr std::uint64_t millisecond = 1'000'000;

// Runs a process that waits for 5 s by `wait`, twice. Returns how much of the world's time it took,
// in milliseconds, or -1 if the two runs differ.
std::int64_t waited_milliseconds(const std::function<void()>& wait) {
  std::vector<std::int64_t> lengths;
  for (int run = 0; run < 2; ++run) {
    harness::world w;
    w.start("alone", [&] {
      wait();
      return 0;
    });
    w.run();
    if (w["alone"].status() != 0) return -2;
    lengths.push_back(w.time().count());
  }
  return lengths[0] == lengths[1] ? lengths[0] / static_cast<std::int64_t>(millisecond) : -1;
}

mach_timespec_t five_seconds() {
  return {5, 0};
}

}  // namespace

TEST_CASE("every wait for a time takes the world's time, and none of the real time") {
  struct row {
    const char* call;
    std::function<void()> wait;
  };
  const row rows[] = {
      {"sleep", [] { ::sleep(5); }},
      {"nanosleep",
       [] {
         const timespec length{5, 0};
         ::nanosleep(&length, nullptr);
       }},
      {"std::this_thread::sleep_until",
       [] { std::this_thread::sleep_until(std::chrono::steady_clock::now() + 5s); }},
      {"a time-out of kevent",
       [] {
         const timespec length{5, 0};
         struct kevent event{};
         const int kq = ::kqueue();
         ::kevent(kq, nullptr, 0, &event, 1, &length);
         ::close(kq);
       }},
      {"EVFILT_TIMER", [] { wait_for(1, EVFILT_TIMER, NOTE_SECONDS); }},
      {"mach_wait_until",
       [] {
         mach_timebase_info_data_t base{};
         ::mach_timebase_info(&base);
         ::mach_wait_until(::mach_absolute_time() + 5'000 * millisecond * base.denom / base.numer);
       }},
      {"mk_timer_arm",
       [] {
         const mach_port_t timer = ::mk_timer_create();
         mach_timebase_info_data_t base{};
         ::mach_timebase_info(&base);
         ::mk_timer_arm(timer,
                        ::mach_absolute_time() + 5'000 * millisecond * base.denom / base.numer);
         struct {
           mach_msg_header_t header;
           std::byte rest[64];
         } message{};
         ::mach_msg(&message.header, MACH_RCV_MSG, 0, sizeof message, timer, MACH_MSG_TIMEOUT_NONE,
                    MACH_PORT_NULL);
       }},
      {"semaphore_timedwait",
       [] {
         semaphore_t semaphore = 0;
         ::semaphore_create(mach_task_self(), &semaphore, SYNC_POLICY_FIFO, 0);
         ::semaphore_timedwait(semaphore, five_seconds());
       }},
      {"a time-out of mach_msg",
       [] {
         mach_port_t port = 0;
         ::mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port);
         mach_msg_header_t nothing{};
         ::mach_msg(&nothing, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof nothing, port, 5000,
                    MACH_PORT_NULL);
       }},
      {"sleep_for of a loop",
       [] {
         kedge::loop l;
         const auto main = []() -> kedge::task<> { co_await kedge::sleep_for(5s); };
         l.run(main());
       }},
  };
  for (const row& each : rows) {
    CAPTURE(each.call);
    CHECK_EQ(waited_milliseconds(each.wait), 5000);
  }
}

TEST_CASE("every clock moves with the world's time alone") {
  struct row {
    const char* clock;
    std::function<std::int64_t()> read;  // nanoseconds
  };
  const auto by = [](clockid_t clock) {
    return [clock] {
      timespec t{};
      ::clock_gettime(clock, &t);
      return t.tv_sec * 1'000'000'000 + t.tv_nsec;
    };
  };
  const row rows[] = {
      {"CLOCK_MONOTONIC", by(CLOCK_MONOTONIC)},
      {"CLOCK_REALTIME", by(CLOCK_REALTIME)},
      {"time", [] { return std::int64_t{::time(nullptr)} * 1'000'000'000; }},
      {"gettimeofday",
       [] {
         timeval t{};
         ::gettimeofday(&t, nullptr);
         return t.tv_sec * 1'000'000'000 + t.tv_usec * 1000;
       }},
      {"std::chrono::system_clock",
       [] {
         const auto now = std::chrono::system_clock::now().time_since_epoch();
         return std::int64_t{std::chrono::nanoseconds(now).count()};
       }},
      {"std::chrono::steady_clock",
       [] {
         const auto now = std::chrono::steady_clock::now().time_since_epoch();
         return std::int64_t{std::chrono::nanoseconds(now).count()};
       }},
      {"mach_absolute_time",
       [] {
         mach_timebase_info_data_t base{};
         ::mach_timebase_info(&base);
         return static_cast<std::int64_t>(::mach_absolute_time() * base.numer / base.denom);
       }},
  };
  for (const row& each : rows) {
    CAPTURE(each.clock);
    std::vector<std::int64_t> read;
    for (int run = 0; run < 2; ++run) {
      run_alone(1, [&] {
        read.push_back(each.read());
        ::sleep(3);
        read.push_back(each.read());
        return 0;
      });
    }
    CHECK_EQ(read[1] - read[0], 3'000'000'000);
    CHECK_EQ(read[2], read[0]);
    CHECK_EQ(read[3], read[1]);
  }
}

// --- Statics and thread-locals -------------------------------------------------------------------

TEST_CASE("the static variables of a loaded program begin anew in each process") {
  // counter_program.c, which adds argc to a counter and returns it.
  const char* const path = std::getenv("KEDGE_COUNTER_PROGRAM");
  REQUIRE_NE(path, nullptr);
  for (int run = 0; run < 2; ++run) {
    harness::world w;
    w.start("one", harness::loaded_program(path));
    w.start("two", harness::loaded_program(path), {.arguments = {"more"}});
    w.run();
    CHECK_EQ(w["one"].status(), 101);
    CHECK_EQ(w["two"].status(), 102);
  }
}

TEST_CASE("a file that is no program cannot be loaded") {
  CHECK_THROWS_AS(harness::loaded_program("/dev/null"), std::runtime_error);
  CHECK_THROWS_AS(harness::loaded_program("/nowhere/at/all.so"), std::runtime_error);
}

namespace {

thread_local int calls_of_thread = 0;

// Two processes take turns for a while. Each counts in a thread-local variable. Returns the sum of
// what they have counted, and the run's fingerprint.
std::pair<int, std::uint64_t> count_in_two(bool thread) {
  harness::world w(3);
  int sum = 0;
  const auto count = [&] {
    calls_of_thread = 0;
    for (int i = 0; i < 10; ++i) {
      ++calls_of_thread;
      mach_port_t port = 0;
      ::mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port);
      ::mach_port_destroy(mach_task_self(), port);
      ::usleep(10);
    }
    sum += calls_of_thread;
    return 0;
  };
  w.start("one", count, {.thread = thread});
  w.start("two", count, {.thread = thread});
  w.run();
  return {sum, w.fingerprint()};
}

}  // namespace

TEST_CASE("a process on a thread has its own thread-locals, and the run is the same") {
  const auto on_threads = count_in_two(true);
  const auto on_fibers = count_in_two(false);
  CHECK_EQ(on_threads.first, 20);
  CHECK_NE(on_fibers.first, 20);
  CHECK_EQ(on_threads.second, on_fibers.second);
}

TEST_CASE("a process on a thread can be killed in a wait, and exits") {
  harness::world w;
  harness::process& waiter =
      w.start("waiter", [] { return wait_for(1, EVFILT_TIMER, NOTE_SECONDS); }, {.thread = true});
  harness::process& leaver = w.start("leaver", []() -> int { ::exit(9); }, {.thread = true});
  w.step();
  w.step();
  waiter.kill();
  w.run();
  CHECK(waiter.was_killed());
  CHECK_EQ(leaver.status(), 9);
}

// --- Addresses -----------------------------------------------------------------------------------

namespace {

// No heaps with a sanitizer, whose malloc() cannot be replaced.
const bool has_heaps = harness::process_heap::is_supported;

constexpr mach_msg_id_t asked = 7;

// Receives and answers requests, for ever.
kedge::task<> answer_all(kedge::mach::receive_right port) {
  for (;;) {
    auto request = co_await port.receive();
    if (!request) co_return;
    if (request->id() != asked) continue;
    auto answer = kedge::mach::message(asked + 100);
    static_cast<void>(kedge::mach::reply(request->take_reply(), std::move(answer)));
  }
}

int serve() {
  kedge::loop l;
  mach_port_t port = 0;
  if (::bootstrap_check_in(bootstrap_port, "answers", &port) != KERN_SUCCESS) return 1;
  l.run(answer_all(kedge::mach::receive_right::adopt(port)));
  return 0;
}

kedge::task<int> ask_often() {
  mach_port_t port = 0;
  while (::bootstrap_look_up(bootstrap_port, "answers", &port) != KERN_SUCCESS) {
    co_await kedge::sleep_for(1ms);
  }
  const auto service = kedge::mach::send_right::adopt(port);
  for (int i = 0; i < 5; ++i) {
    kedge::mach::message request(asked);
    const auto answer = co_await kedge::mach::call(service, std::move(request));
    if (!answer) co_return 2;
    co_await kedge::sleep_for(1ms);
  }
  co_return 0;
}

int ask() {
  kedge::loop l;
  return l.run(ask_often());
}

// A service, a client, and a client that is killed at some call.
std::uint64_t fingerprint_of_service(std::uint64_t seed, bool heap) {
  harness::world w(seed);
  w.start("service", serve, {.heap = heap});
  const harness::process& client = w.start("client", ask, {.heap = heap});
  w.may_kill(w.start("victim", ask, {.heap = heap}));
  w.finish();
  CHECK_EQ(client.status(), 0);
  return w.fingerprint();
}

// Of all that has an address: a variable on the stack, memory of malloc() and of Mach, a frame.
mach_msg_id_t id_of_addresses() {
  const std::uint64_t on_stack = 0;
  void* const block = std::malloc(100);
  auto object = std::make_unique<std::string>(100, 'x');
  vm_address_t pages = 0;
  vm_address_t many = 0;
  if (::vm_allocate(mach_task_self(), &pages, 3 * 4096, VM_FLAGS_ANYWHERE) != KERN_SUCCESS ||
      ::vm_allocate(mach_task_self(), &many, 3 << 20, VM_FLAGS_ANYWHERE) != KERN_SUCCESS) {
    return 0;
  }
  std::uint64_t mixed = 0;
  const auto mix = [&mixed](std::uint64_t value) { mixed = (mixed ^ value) * 0x100000001b3u; };
  for (const void* each : {static_cast<const void*>(&on_stack), static_cast<const void*>(block),
                           static_cast<const void*>(object->data())}) {
    mix(reinterpret_cast<std::uintptr_t>(each));
  }
  mix(pages);
  mix(many);
  std::free(block);
  return static_cast<mach_msg_id_t>(mixed >> 34 | 1);
}

// Sends itself messages whose ids come from addresses.
int send_addresses() {
  mach_port_t port = 0;
  ::mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port);
  for (int i = 0; i < 5; ++i) {
    mach_msg_header_t header{};
    header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0);
    header.msgh_size = sizeof header;
    header.msgh_remote_port = port;
    header.msgh_id = id_of_addresses();
    if (::mach_msg_send(&header) != MACH_MSG_SUCCESS) return 1;
    struct {
      mach_msg_header_t header;
      mach_msg_trailer_t trailer;
    } received{};
    received.header.msgh_local_port = port;
    received.header.msgh_size = sizeof received;
    if (::mach_msg_receive(&received.header) != MACH_MSG_SUCCESS) return 2;
  }
  return 0;
}

std::uint64_t fingerprint_of_addresses() {
  harness::world w(4);
  w.start("one", send_addresses, {.heap = true});
  w.start("two", send_addresses, {.heap = true});
  w.run();
  CHECK_EQ(w["one"].status(), 0);
  CHECK_EQ(w["two"].status(), 0);
  return w.fingerprint();
}

constexpr const char* result_variable = "KEDGE_FINGERPRINT_FD";

// fingerprint_of_addresses() in another process of the program, with or without the system's
// randomisation of addresses.
std::uint64_t fingerprint_in_child(bool randomised) {
  const std::array<int, 2> ends = make_pipe();
  const pid_t child = ::fork();
  if (child == 0) {
    const int before = ::personality(0xffffffff);
    ::personality(static_cast<unsigned long>(randomised ? before & ~ADDR_NO_RANDOMIZE
                                                        : before | ADDR_NO_RANDOMIZE));
    ::setenv(result_variable, std::to_string(ends[1]).c_str(), 1);
    ::execl("/proc/self/exe", "child", "--test-case=the fingerprint of a run by addresses",
            "--no-skip", nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  std::uint64_t fingerprint = 0;
  CHECK_EQ(::read(ends[0], &fingerprint, sizeof fingerprint), sizeof fingerprint);
  ::close(ends[0]);
  int status = -1;
  CHECK_EQ(::waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
  return fingerprint;
}

}  // namespace

TEST_CASE("the fingerprint of a run by addresses" * doctest::skip(true)) {
  // For fingerprint_in_child().
  const char* const fd = std::getenv(result_variable);
  REQUIRE_NE(fd, nullptr);
  const std::uint64_t fingerprint = fingerprint_of_addresses();
  CHECK_EQ(::write(std::stoi(fd), &fingerprint, sizeof fingerprint), sizeof fingerprint);
}

TEST_CASE("addresses are the same in each run, with and without the system's randomisation" *
          doctest::skip(!has_heaps)) {
  const std::uint64_t here = fingerprint_of_addresses();
  CHECK_EQ(fingerprint_of_addresses(), here);
  CHECK_EQ(fingerprint_in_child(true), here);
  CHECK_EQ(fingerprint_in_child(false), here);
}

TEST_CASE("services and clients run the same on heaps of their own, and are killed there" *
          doctest::skip(!has_heaps)) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    CHECK_EQ(fingerprint_of_service(seed, true), fingerprint_of_service(seed, false));
  }
}

TEST_CASE("the end of a process drops its heap, and runs no destructor" *
          doctest::skip(!has_heaps)) {
  std::uintptr_t addresses[2]{};
  for (std::uintptr_t& each : addresses) {
    harness::world w;
    harness::process& victim =
        w.start("victim",
                [&each] {
                  each = reinterpret_cast<std::uintptr_t>(new std::string(1000, 'x'));
                  return wait_for(1, EVFILT_TIMER, NOTE_SECONDS);
                },
                {.heap = true});
    w.step();
    victim.kill();
    CHECK(harness::process_heap::holds(reinterpret_cast<const void*>(each)));
  }
  CHECK_EQ(addresses[0], addresses[1]);
}

#endif
