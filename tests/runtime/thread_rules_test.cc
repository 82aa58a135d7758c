// Which thread may use a loop, and what another one gets.
#include <doctest/doctest.h>

#include <array>
#include <csignal>
#include <latch>
#include <stdexcept>
#include <string>
#include <thread>

#include "in_child_process.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/yield.h"

namespace {

using namespace std::chrono_literals;
using kedge::loop;
using kedge::task;

TEST_CASE("a drive by a second thread throws std::logic_error that names the other thread") {
  loop l;
  std::latch driving(1), tried(1);
  std::string message;
  std::thread other([&] {
    driving.wait();
    try {
      l.poll();
    } catch (const std::logic_error& e) {
      message = e.what();
    }
    tried.count_down();
  });
  l.run([&]() -> task<> {
    driving.count_down();
    tried.wait();
    co_return;
  }());
  other.join();
  CHECK(message.find("another thread") != std::string::npos);
}

TEST_CASE("a loop is handed over to a thread between drives, and before the first one") {
  kedge::virtual_time time;
  loop l(time);
  l.spawn(kedge::sleep_for(1us));
  std::thread([&] {
    l.spawn(kedge::sleep_for(1us));
    CHECK(time.run() == 0);
  }).join();
  l.run(kedge::sleep_for(1us));
  CHECK(l.size() == 0);
}

#ifndef NDEBUG

// Returns the signal that ends a process in which another thread than the loop's runs `f(loop)`.
template <class Function>
int signal_of_foreign(Function f) {
  return kedge::in_child_process([&] {
           loop l;
           l.poll();
           std::thread([&] { f(l); }).join();
         })
      .signal();
}

struct silent final : kedge::listener {
  void notify(const kevent64_s&) noexcept override {}
  void closed(std::error_code) noexcept override {}
};

TEST_CASE("a debug build ends the program when a foreign thread uses a loop") {
  CHECK(signal_of_foreign([](loop& l) { l.spawn(kedge::yield()); }) == SIGABRT);
  CHECK(signal_of_foreign([](loop& l) { static_cast<void>(l.timers()); }) == SIGABRT);
  CHECK(signal_of_foreign([](loop& l) { l.submit_changes(); }) == SIGABRT);
  CHECK(signal_of_foreign([](loop& l) {
          kedge::registration r(l, kedge::sharing::shared, EVFILT_USER, 1);
          silent s;
          static_cast<void>(r.link(s));
        }) == SIGABRT);
  CHECK(signal_of_foreign([](loop& l) { l.poll(); }) == 0);  // takes over
}

#endif

}  // namespace
