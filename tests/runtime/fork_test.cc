// A loop in a forked child of its process, and a loop that its own task or exit() destroys.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/event.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>

#include "in_child_process.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/reactor/registration.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/yield.h"
#include "stream_pair.h"

namespace {

using namespace std::chrono_literals;
using kedge::errc;
using kedge::loop;
using kedge::status_of_child;
using kedge::task;

// Returns whether f() throws std::system_error with errc::forked.
template <class Function>
bool throws_forked(Function f) {
  try {
    f();
  } catch (const std::system_error& e) {
    return e.code() == errc::forked;
  }
  return false;
}

struct counter final : kedge::listener {
  void notify(const kevent64_s&) noexcept override {}
  void closed(std::error_code why) noexcept override { end = why; }
  std::error_code end;
};

TEST_CASE("in a forked child every drive of the parent's loop throws errc::forked") {
  loop l;
  l.spawn(kedge::sleep_for(0s));
  CHECK(status_of_child([&] {
          if (!throws_forked([&] { l.poll(); })) return 1;
          if (!throws_forked([&] { l.run_once(); })) return 2;
          if (!throws_forked([&] { l.run(kedge::yield()); })) return 3;
          if (!throws_forked([&] { l.native_handle(); })) return 4;
          return 0;
        }) == 0);
  l.poll();
  CHECK(l.size() <= 1);
}

TEST_CASE("a task that forks goes on in the child until its drive throws errc::forked") {
  CHECK(status_of_child([] {
          loop l;
          int child = -1;
          int status = -1;
          bool went_on = false;
          const auto body = [&]() -> task<> {
            child = ::fork();
            co_await kedge::sleep_for(0s);
            went_on = true;
          };
          bool threw = false;
          try {
            l.run(body());
          } catch (const std::system_error& e) {
            threw = e.code() == errc::forked;
          }
          if (child == 0) _exit(threw && !went_on ? 0 : 1);
          return ::waitpid(child, &status, 0) == child && status == 0 && went_on && !threw ? 0 : 1;
        }) == 0);
}

TEST_CASE("in a forked child posts to the parent's loop are refused") {
  loop l;
  const kedge::remote to = l.get_remote();
  CHECK(to.post([] {}));
  CHECK(status_of_child([&] { return to.post([] {}) ? 1 : 0; }) == 0);
  CHECK(l.poll());
}

TEST_CASE("in a forked child sources of the parent's loop answer errc::loop_gone") {
  loop l;
  kedge::stream_pair p(l);
  const auto fd = static_cast<std::uint64_t>(p.a.native_handle());
  kedge::registration r(l, kedge::sharing::exclusive, EVFILT_READ, fd);
  l.poll();
  CHECK(status_of_child([&] {
          counter waits;
          if (r) return 1;
          if (r.link(waits) != errc::loop_gone) return 2;
          kedge::registration later(l, kedge::sharing::exclusive, EVFILT_WRITE, fd);
          if (later.link(waits) != errc::loop_gone) return 3;
          l.submit_changes();
          return 0;
        }) == 0);
  CHECK(r);
}

TEST_CASE("in the child of a task that forks a descriptor that was awaited gives errc::loop_gone") {
  CHECK(status_of_child([] {
          loop l;
          kedge::stream_pair p(l);
          const auto body = [&]() -> task<int> {
            std::array<std::byte, 8> bytes{};
            // The read waits, and so it is known to the kernel.
            co_await kedge::when_all(p.b.read_some(bytes),
                                     p.a.write_some(std::span(bytes).first(1)));
            const int child = ::fork();
            if (child == 0) {
              const auto again = co_await p.b.read_some(bytes);
              _exit(!again && again.error() == errc::loop_gone ? 0 : 1);
            }
            int status = -1;
            co_return ::waitpid(child, &status, 0) == child ? status : -1;
          };
          return l.run(body()) == 0 ? 0 : 1;
        }) == 0);
}

TEST_CASE("in a forked child ~loop runs destructors and closes no number") {
  bool destroyed = false;
  auto l = std::make_unique<loop>();
  const int handle = l->native_handle();
  struct flagged {
    explicit flagged(bool& f) : flag(&f) {}
    flagged(flagged&& other) noexcept : flag(std::exchange(other.flag, nullptr)) {}
    flagged& operator=(flagged&&) = delete;
    ~flagged() {
      if (flag != nullptr) *flag = true;
    }
    bool* flag;
  };
  l->spawn([](flagged) -> task<> { co_await kedge::sleep_for(1h); }, flagged(destroyed));
  l->poll();
  CHECK(status_of_child([&] {
          // A file of the child's own under the kqueue's number.
          const int file = ::open("/dev/null", O_RDONLY);
          if (file != handle && ::dup2(file, handle) != handle) return 1;
          l->cancel();
          l.reset();
          if (::fcntl(handle, F_GETFD) < 0) return 2;
          return destroyed ? 0 : 3;
        }) == 0);
  CHECK_FALSE(destroyed);
}

TEST_CASE("a forked child makes and drives loops of its own") {
  loop parents;
  CHECK(status_of_child([] {
          loop own;
          bool ran = false;
          own.get_remote().post([&] { ran = true; });
          own.run(kedge::sleep_for(1us));
          return ran ? 0 : 1;
        }) == 0);
}

TEST_CASE("exit() within a task leaves a static loop and its tasks as they are") {
  CHECK(status_of_child([] {
          static bool destroyed = false;
          struct flag {
            flag() = default;
            flag(const flag&) = delete;
            flag& operator=(const flag&) = delete;
            ~flag() { destroyed = true; }
          };
          std::atexit([] { _exit(destroyed ? 1 : 7); });  // older than the loop, so it runs later
          static loop l;
          l.spawn([]() -> task<> {
            const flag f;
            co_await kedge::sleep_for(1h);
          });
          l.run([]() -> task<> {
            co_await kedge::yield();
            std::exit(3);
          }());
          return 2;
        }) == 7 << 8);
}

TEST_CASE("a loop that its own task destroys ends the program with a message") {
  const kedge::program_end end = kedge::in_child_process([] {
    auto* const l = new loop;
    l->run([](loop* own) -> task<> {
      delete own;
      co_return;
    }(l));
  });
  CHECK(end.aborted());
  CHECK(end.says("a loop was destroyed by its own task"));
}

}  // namespace
