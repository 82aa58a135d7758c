// serve(), interrupted at every point and short of memory at every allocation. Each connection is
// handled, ended, or left to the next call, and no descriptor is left over.
#include "kedge/net/serve.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kedge/net/daemon.h"
#include "kedge/net/owned_fd.h"
#include "kedge/net/unix_datagram_socket.h"
#include "kedge/net/unix_listener.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "new_frames.h"
#include "open_descriptors.h"
#include "tests/runtime/counted_new.h"
#include "tests/runtime/drain.h"
#include "tests/runtime/in_child_process.h"
#include "tests/runtime/sweep.h"
#include "tests/temporary_folder.h"

namespace kedge::net {
namespace {

using namespace std::chrono_literals;

// A server whose handler waits until its client has gone, and clients, to which it sends nothing.
class served {
 public:
  explicit served(loop& l) : listener_(l, address::unix_path(folder_ / "s").value()) {}

  task<serve_report> serve_all() {
    const auto handler = [this](unix_stream s) -> task<> {
      ++begun_;
      const counted_handler handled(live_);
      std::array<std::byte, 4> room;
      while (co_await s.read_some(room)) continue;
    };
    const auto ignore = [](const address&, const std::exception_ptr&) {};
    constexpr serve_options two{.most_connections = 2, .grace = 3s};
    return serve(listener_, handler, two, ignore);
  }
  void connect() {
    ++connected_;
    clients_.emplace_back(::socket(AF_UNIX, SOCK_STREAM, 0));
    const address at = listener_.local_address();
    REQUIRE(::connect(clients_.back().get(), at.data(), at.size()) == 0);
  }
  // The oldest client closes its connection.
  void leave() {
    if (!clients_.empty()) clients_.erase(clients_.begin());
  }
  void close() noexcept { listener_.close(); }

  bool is_listening() const noexcept { return static_cast<bool>(listener_); }
  int connected() const noexcept { return connected_; }
  int begun() const noexcept { return begun_; }
  int live() const noexcept { return live_; }
  // The clients whose connection the server has not ended.
  int open() const {
    return static_cast<int>(
        std::count_if(clients_.begin(), clients_.end(), [](const owned_fd& each) {
          pollfd end{each.get(), POLLIN, 0};
          return ::poll(&end, 1, 0) == 0;
        }));
  }

 private:
  class counted_handler {
   public:
    explicit counted_handler(int& live) noexcept : live_(live) { ++live_; }
    counted_handler(const counted_handler&) = delete;
    counted_handler& operator=(const counted_handler&) = delete;
    ~counted_handler() { --live_; }

   private:
    int& live_;
  };

  const temporary_folder folder_{"/tmp"};
  unix_listener listener_;
  std::vector<owned_fd> clients_;
  int connected_ = 0;
  int begun_ = 0;
  int live_ = 0;
};

// Two clients connect, one leaves, the listener closes, and the other client outstays the grace.
class serving : public scenario {
 public:
  serving(loop& l, virtual_time& time) : world_(l), time_(time) {}
  auto awaited() { return world_.serve_all(); }
  void complete() override {
    switch (step_++) {
      case 0:
        if (!world_.is_listening()) break;
        world_.connect();
        world_.connect();
        break;
      case 1:
        world_.leave();
        break;
      case 2:
        world_.close();
        break;
      default:
        break;
    }
    time_.advance(1s);
  }
  void close() override { world_.close(); }
  void took(const serve_report& r) {
    if (r.error) error = r.error;
    if (!r.error) ++delivered;
  }
  // Each connection that had a handler has ended. The others wait in the backlog, if there is one.
  bool nothing_missing() override {
    const int waiting = world_.is_listening() ? world_.connected() - world_.begun() : 0;
    return world_.live() == 0 && world_.open() <= waiting;
  }

 private:
  served world_;
  virtual_time& time_;
  int step_ = 0;
};

TEST_CASE("a serve that is interrupted leaves no connection open and no handler") {
  sweep<serving>("task", open_descriptors);
}

#if KEDGE_COUNTED_NEW
// Drives the loop while the allocation fails that `left` counts down to.
void settle_short_of_memory(loop& l, long& left) {
  until_failure = left;
  settle(l);
  left = std::exchange(until_failure, -1);
}

TEST_CASE("a server goes on, and gives its report, whichever allocation fails once it has begun") {
  long left = -1;
  for (long k = 0; left < 0; ++k) {
    CAPTURE(k);
    new_frames frames;
    virtual_time time;
    loop l(time);
    served world(l);
    std::optional<serve_report> report;
    l.spawn([&]() -> task<> { report = co_await world.serve_all(); });
    settle(l);

    left = k;
    world.connect();
    world.connect();
    settle_short_of_memory(l, left);
    world.leave();
    settle_short_of_memory(l, left);
    time.advance(1s);
    settle_short_of_memory(l, left);
    const int begun = world.begun();
    world.connect();
    if (left < 0) settle(l);
    if (left < 0) CHECK(world.begun() == begun + 1);
    world.close();
    settle_short_of_memory(l, left);
    time.advance(4s);
    settle_short_of_memory(l, left);

    REQUIRE(report.has_value());
    CHECK_FALSE(report->error);
    const auto ended = static_cast<int>(report->served + report->failed + report->stuck);
    CHECK(ended >= world.begun());
    CHECK(ended <= world.connected());
    CHECK(world.live() == 0);
    CHECK(world.open() == 0);
  }
}

TEST_CASE("a daemon short of memory ends with a status and a line, whichever allocation fails") {
  const temporary_folder folder("/tmp");
  const std::string path = folder / "manager";
  const program_end end = in_child_process([&] {
    long left = -1;
    for (long k = 0; left < 0; ++k) {
      virtual_time time;
      loop l(time);
      const unix_datagram_socket manager(l, address::unix_path(path).value());
      ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
      ::setenv("WATCHDOG_USEC", "2000000", 1);
      int reloads = 0;
      const auto start = [&](daemon& d) -> task<> {
        const auto reload = [&]() -> task<> {
          ++reloads;
          co_return;
        };
        ::kill(::getpid(), SIGHUP);
        co_await d.run(sleep_for(3s), reload);
      };
      until_failure = k;
      const int status = run_daemon(l, "test", start);
      left = std::exchange(until_failure, -1);
      ::unlink(path.c_str());
      if (status != (left < 0 ? 1 : 0)) std::_Exit(10 + status);
      if (left >= 0 && reloads != 1) std::_Exit(9);
    }
  });
  CHECK(end.status == 0);
  CHECK(end.says("test: std::bad_alloc\n"));
}
#endif

}  // namespace
}  // namespace kedge::net
