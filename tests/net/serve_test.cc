// serve(): limits, failures, and the drain.
#include "kedge/net/serve.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <limits>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kedge/net/connect.h"
#include "kedge/net/host.h"
#include "kedge/net/tcp_listener.h"
#include "kedge/net/unix_listener.h"
#include "kedge/runtime/event.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/this_task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/yield.h"
#include "run_in.h"
#include "tests/runtime/in_child_process.h"
#include "tests/temporary_folder.h"
#include "text.h"

namespace kedge::net {
namespace {

using namespace std::chrono_literals;

address loopback() {
  return address::parse("127.0.0.1:0").value();
}

// Gives back what comes, until the end.
task<> echo(tcp_stream s) {
  std::array<std::byte, 64> room;
  while (const auto n = co_await s.read_some(room)) {
    (co_await s.write_some(std::span(room).first(*n))).value();
  }
}

// Waits until the peer has ended the connection.
task<> wait_for_end(tcp_stream& s) {
  std::array<std::byte, 64> room;
  while (co_await s.read_some(room)) {
  }
}

TEST_CASE("each connection has a handler, and serve ends when the listener is closed") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    const auto clients = [&]() -> task<> {
      for (int i = 0; i < 3; ++i) {
        tcp_stream s = (co_await connect(listener.local_address())).value();
        std::array<std::byte, 4> room{};
        CHECK((co_await s.write_some(std::span(room))).value() == 4);
        CHECK((co_await s.read_some(room)).value() == 4);
      }
      listener.close();
    };
    auto [report, done] = co_await when_all(serve(listener, echo), clients());
    CHECK(report.served == 3);
    CHECK(report.failed == 0);
    CHECK(report.stuck == 0);
    CHECK(!report.error);
    CHECK(report.where.empty());
  });
}

TEST_CASE("a handler that fails ends its connection alone, and is told") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    std::vector<std::string> told;
    int connections = 0;
    const auto fail_first = [&](tcp_stream s) -> task<> {
      if (++connections == 1) throw std::runtime_error("the first");
      co_await wait_for_end(s);
    };
    const auto tell = [&](const address& peer, const std::exception_ptr& failure) {
      try {
        std::rethrow_exception(failure);
      } catch (const std::exception& e) {
        told.push_back(peer.text() + " " + e.what());
      }
    };
    const auto clients = [&]() -> task<> {
      tcp_stream first = (co_await connect(listener.local_address())).value();
      const std::string name = first.local_address().value().text();
      co_await wait_for_end(first);
      REQUIRE(told.size() == 1);
      CHECK(told[0] == name + " the first");
      tcp_stream second = (co_await connect(listener.local_address())).value();
      listener.close();
    };
    auto [report, done] = co_await when_all(serve(listener, fail_first, {}, tell), clients());
    CHECK(report.failed == 1);
    CHECK(report.served == 1);
  });
}

// Runs a server whose handler fails twice, and two clients. Returns whether both have failed,
// nothing was said to the second client, and no socket has the number of a standard stream.
bool serves_two_failures() {
  loop l;
  tcp_listener listener(l, loopback());
  std::string said;
  std::size_t failed = 0;
  int lowest = std::numeric_limits<int>::max();
  run_in(l, [&]() -> task<> {
    const auto fail = [&](tcp_stream s) -> task<> {
      lowest = std::min(lowest, s.native_handle());
      co_await wait_for_end(s);
      throw std::runtime_error("a secret");
    };
    const auto client = [&]() -> task<> {
      tcp_stream first = (co_await connect(listener.local_address())).value();
      tcp_stream second = (co_await connect(listener.local_address())).value();
      lowest = std::min({lowest, first.native_handle(), second.native_handle()});
      first.shutdown_write().value();
      std::array<std::byte, 64> room;
      while ((co_await first.read_some(room)).value_or(0) != 0) {
      }
      second.shutdown_write().value();
      while (const auto n = co_await second.read_some(room)) {
        said += text_of(std::span(room).first(*n));
      }
      listener.close();
    };
    auto [report, done] = co_await when_all(serve(listener, fail), client());
    failed = report.failed;
  });
  return failed == 2 && said.empty() && lowest > 2;
}

TEST_CASE("a failed handler is reported to stderr, which may be closed, full or broken") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const auto run_with = [](auto prepare) {
    return status_of_child([&] {
      std::signal(SIGPIPE, SIG_DFL);
      prepare();
      return serves_two_failures() ? 0 : 1;
    });
  };
  SUBCASE("closed, as are the others") {
    // No socket gets the number that the report is written to.
    CHECK(run_with([] {
            for (int fd = 0; fd < 3; ++fd) ::close(fd);
          }) == 0);
  }
  SUBCASE("a full pipe") {
    const std::vector<char> block(4096);
    ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
    while (::write(ends[1], block.data(), block.size()) > 0) {
    }
    ::fcntl(ends[1], F_SETFL, 0);
    CHECK(run_with([&] { ::dup2(ends[1], STDERR_FILENO); }) == 0);
  }
  SUBCASE("a pipe without a reader") {
    CHECK(run_with([&] {
            ::dup2(ends[1], STDERR_FILENO);
            for (const int end : ends) ::close(end);
          }) == 0);
  }
  SUBCASE("a pipe with room") {
    CHECK(run_with([&] { ::dup2(ends[1], STDERR_FILENO); }) == 0);
    std::array<char, 600> text{};
    const ssize_t n = ::read(ends[0], text.data(), text.size());
    REQUIRE(n > 0);
    CHECK(std::string(text.data(), static_cast<std::size_t>(n)).find(": a secret\n") !=
          std::string::npos);
  }
  for (const int end : ends) ::close(end);
}

TEST_CASE("errors of one connection do not end accept()") {
  for (const int error : {ECONNABORTED, ECONNRESET, EPERM, EPROTO, ETIMEDOUT, EHOSTUNREACH}) {
    CHECK(host::is_of_connection(error));
  }
  for (const int error : {EBADF, EINVAL, ENOTSOCK, EMFILE, ENOMEM, EAGAIN}) {
    CHECK_FALSE(host::is_of_connection(error));
  }
}

TEST_CASE("a handler may take the peer's address") {
  loop l;
  tcp_listener listener(l, loopback());
  address told, own;
  run_in(l, [&]() -> task<> {
    const auto handler = [&](tcp_stream s, const address& peer) -> task<> {
      told = peer;
      co_await wait_for_end(s);
    };
    const auto client = [&]() -> task<> {
      tcp_stream s = (co_await connect(listener.local_address())).value();
      own = s.local_address().value();
      listener.close();
    };
    auto [report, done] = co_await when_all(serve(listener, handler), client());
    CHECK(report.served == 1);
  });
  CHECK(told == own);
}

TEST_CASE("connections beyond the limit wait for room") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    int open = 0;
    int most = 0;
    const auto count = [&](tcp_stream s) -> task<> {
      most = std::max(most, ++open);
      co_await wait_for_end(s);
      --open;
    };
    const auto clients = [&]() -> task<> {
      std::vector<tcp_stream> all;
      for (int i = 0; i < 5; ++i) {
        all.push_back((co_await connect(listener.local_address())).value());
      }
      while (open < 2) co_await yield();
      while (!all.empty()) {
        all.pop_back();
        co_await yield();
      }
      while (open > 0) co_await yield();
      listener.close();
    };
    const serve_options two{.most_connections = 2};
    auto [report, done] = co_await when_all(serve(listener, count, two), clients());
    CHECK(most == 2);
  });
}

TEST_CASE("after the grace those that are left are cancelled and counted") {
  virtual_time time;
  loop l(time);
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    int ended = 0;
    const auto handler = [&](tcp_stream) -> task<> {
      if (++ended == 1) co_await sleep_for(1s);
      if (ended == 2) co_await forever();
    };
    const auto clients = [&]() -> task<> {
      tcp_stream first = (co_await connect(listener.local_address())).value();
      while (ended < 1) co_await yield();
      tcp_stream second = (co_await connect(listener.local_address())).value();
      while (ended < 2) co_await yield();
      listener.close();
      co_await wait_for_end(second);
    };
    const auto begin = time.now();
    const serve_options short_grace{.grace = 5s};
    auto [report, done] = co_await when_all(serve(listener, handler, short_grace), clients());
    CHECK(time.now() - begin == 5s);
    CHECK(report.served == 0);
    CHECK(report.stuck == 2);  // the first waits for ever too, once the second has come
    CHECK(report.where.find("127.0.0.1:") != std::string::npos);
  });
}

TEST_CASE("connections that end within the grace are served") {
  virtual_time time;
  loop l(time);
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    bool has_begun = false;
    const auto handler = [&](tcp_stream) -> task<> {
      has_begun = true;
      co_await sleep_for(1s);
    };
    const auto clients = [&]() -> task<> {
      tcp_stream s = (co_await connect(listener.local_address())).value();
      while (!has_begun) co_await yield();
      listener.close();
    };
    const auto begin = time.now();
    auto [report, done] = co_await when_all(serve(listener, handler), clients());
    CHECK(report.served == 1);
    CHECK(report.stuck == 0);
    CHECK(time.now() - begin == 1s);
  });
}

TEST_CASE("a full server drains as well") {
  virtual_time time;
  loop l(time);
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    bool has_begun = false;
    const auto handler = [&](tcp_stream) -> task<> {
      has_begun = true;
      co_await forever();
    };
    const auto client = [&]() -> task<> {
      tcp_stream s = (co_await connect(listener.local_address())).value();
      while (!has_begun) co_await yield();
      listener.close();
      co_await wait_for_end(s);
    };
    const auto begin = time.now();
    const serve_options one{.most_connections = 1, .grace = 5s};
    auto [report, done] = co_await when_all(serve(listener, handler, one), client());
    CHECK(report.stuck == 1);
    CHECK(time.now() - begin == 5s);
  });
}

TEST_CASE("a cancelled serve ends its connections") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    tcp_stream client;
    const auto dial = [&]() -> task<> {
      client = (co_await connect(listener.local_address())).value();
      std::array<std::byte, 4> room{};
      CHECK((co_await client.write_some(std::span(room))).value() == 4);
      CHECK((co_await client.read_some(room)).value() == 4);
    };
    auto [report, dialled] = co_await when_any(serve(listener, echo), dial());
    CHECK(!report);
    co_await wait_for_end(client);
    CHECK(static_cast<bool>(listener));
  });
}

TEST_CASE("a Unix socket is served too, and its connections have numbers") {
  const temporary_folder folder("/tmp");
  loop l;
  unix_listener listener(l, address::unix_path(folder.path() + "/s").value());
  run_in(l, [&]() -> task<> {
    std::string name;
    const auto handler = [&](unix_stream) -> task<> { name = (co_await this_task::state()).name; };
    const auto client = [&]() -> task<> {
      unix_stream s = (co_await connect_unix(listener.local_address())).value();
      std::array<std::byte, 4> room;
      CHECK((co_await s.read_some(room)).error() == kedge::errc::end_of_file);
      listener.close();
    };
    auto [report, done] = co_await when_all(serve(listener, handler), client());
    CHECK(report.served == 1);
    CHECK(name == "connection 1");
  });
}

TEST_CASE("serve of a listener that never listened, or is closed, ends at once") {
  loop l;
  tcp_listener closed(l, loopback());
  closed.close();
  tcp_listener none;
  run_in(l, [&]() -> task<> {
    for (tcp_listener* const each : {&none, &closed}) {
      const serve_report report = co_await serve(*each, echo);
      CHECK(report.served == 0);
      CHECK(!report.error);
    }
  });
}

TEST_CASE("serve refuses a limit of no connections") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    const serve_options none{.most_connections = 0};
    CHECK_THROWS_WITH_AS((void)(co_await serve(listener, echo, none)),
                         doctest::Contains("most_connections is 0"), std::system_error);
  });
}

}  // namespace
}  // namespace kedge::net
