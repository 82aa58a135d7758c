// tcp_stream, tcp_listener and connect(): connections, their ends, and what goes wrong.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <limits>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kedge/net/connect.h"
#include "kedge/net/errc.h"
#include "kedge/net/tcp_listener.h"
#include "kedge/net/tcp_stream.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"

#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/yield.h"
#include "message_of.h"
#include "raw_listener.h"
#include "run_in.h"
#include "text.h"
#include "unnamed_file.h"

namespace kedge::net {
namespace {

using namespace std::chrono_literals;

address loopback(std::uint16_t port = 0) {
  return address::parse_host("127.0.0.1", port).value();
}

// Two connected TCP streams.
struct pair {
  tcp_stream here;
  tcp_stream there;
};

task<pair> connected(tcp_listener& listener) {
  auto [here, there] = co_await when_all(connect(listener.local_address()), listener.accept());
  co_return pair{std::move(here).value(), std::move(there).value()};
}

task<std::string> read_all(tcp_stream& s) {
  std::string all;
  std::array<std::byte, 256> room;
  for (;;) {
    const auto n = co_await s.read_some(room);
    if (!n) {
      CHECK(n.error() == kedge::errc::end_of_file);
      co_return all;
    }
    all.append(reinterpret_cast<const char*>(room.data()), *n);
  }
}

int option_of(const tcp_stream& s, int level, int option) {
  int value = -1;
  socklen_t size = sizeof(value);
  CHECK(::getsockopt(s.native_handle(), level, option, &value, &size) == 0);
  return value;
}

// Opens descriptors until the process has none left, and closes them.
class full_table {
 public:
  full_table() {
    ::getrlimit(RLIMIT_NOFILE, &old_);
    rlimit low = old_;
    low.rlim_cur = 256;
    ::setrlimit(RLIMIT_NOFILE, &low);
    for (int fd; (fd = ::open("/dev/null", O_RDONLY)) >= 0;) fds_.push_back(fd);
  }
  full_table(const full_table&) = delete;
  full_table& operator=(const full_table&) = delete;
  ~full_table() {
    give(fds_.size());
    ::setrlimit(RLIMIT_NOFILE, &old_);
  }
  void give(std::size_t count) {
    for (; count > 0; --count) {
      ::close(fds_.back());
      fds_.pop_back();
    }
  }

 private:
  rlimit old_{};
  std::vector<int> fds_;
};

TEST_CASE("a connection carries bytes both ways, and each direction ends by itself") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    CHECK((co_await p.here.write_some(bytes_of("ping"))).value() == 4);
    CHECK(p.here.shutdown_write().has_value());
    CHECK(co_await read_all(p.there) == "ping");
    CHECK((co_await p.there.write_some(bytes_of("pong"))).value() == 4);
    p.there.close();
    CHECK(co_await read_all(p.here) == "pong");
  });
}

TEST_CASE("both ends know the addresses") {
  loop l;
  tcp_listener listener(l, loopback());
  CHECK(listener.local_address().port() != 0);
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    CHECK(p.here.peer_address().value() == listener.local_address());
    CHECK(p.there.local_address().value() == listener.local_address());
    CHECK(p.here.local_address().value() == p.there.peer_address().value());
    address from;
    auto [here, there] =
        co_await when_all(connect(listener.local_address()), listener.accept(from));
    CHECK(from == here.value().local_address().value());
    p.here.close();
    CHECK(p.here.local_address().error() == kedge::errc::closed);
    CHECK(p.here.peer_address().error() == kedge::errc::closed);
    CHECK(p.here.shutdown_write().error() == kedge::errc::closed);
    CHECK(p.here.set_no_delay(true).error() == kedge::errc::closed);
    CHECK(!p.here);
    CHECK(p.here.native_handle() == -1);
  });
}

TEST_CASE("rooms are filled and parts are taken one after the other") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    const std::array<std::span<const std::byte>, 3> parts{bytes_of("one"), bytes_of(""),
                                                          bytes_of("two")};
    CHECK((co_await p.here.write_some(parts)).value() == 6);
    std::array<char, 2> first{};
    std::array<char, 8> second{};
    const std::array<std::span<std::byte>, 2> rooms{std::as_writable_bytes(std::span(first)),
                                                    std::as_writable_bytes(std::span(second))};
    CHECK((co_await p.there.read_some(rooms)).value() == 6);
    CHECK(std::string(first.data(), 2) == "on");
    CHECK(std::string(second.data(), 4) == "etwo");
    const std::array<std::span<std::byte>, 1> none{};
    CHECK((co_await p.there.read_some(none)).value() == 0);
    p.here.close();
    const auto end = co_await p.there.read_some(rooms);
    CHECK(end.error() == kedge::errc::end_of_file);
  });
}

TEST_CASE("more parts than fit at once are left for the next call") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    const std::vector<std::span<const std::byte>> parts(stream_socket::most_parts + 1,
                                                        bytes_of("x"));
    CHECK((co_await p.here.write_some(parts)).value() == stream_socket::most_parts);
  });
}

TEST_CASE("a reset is told, and a write after it gives an error instead of SIGPIPE") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    p.there.reset();
    std::array<std::byte, 8> room;
    const auto n = co_await p.here.read_some(room);
    CHECK(n.error() == std::errc::connection_reset);
    CHECK((co_await p.here.write_some(bytes_of("x"))).error() == std::errc::broken_pipe);
    const std::array<std::span<const std::byte>, 1> parts{bytes_of("x")};
    CHECK((co_await p.here.write_some(parts)).error() == std::errc::broken_pipe);
    const int file = ::open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    CHECK((co_await p.here.send_file(file, 0, 10)).error() == std::errc::broken_pipe);
    ::close(file);
    CHECK(p.here.peer_address().error() == std::errc::not_connected);
  });
}

TEST_CASE("small writes go at once, and the options reach the system") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    CHECK(option_of(p.here, IPPROTO_TCP, TCP_NODELAY) == 1);
    CHECK(option_of(p.there, IPPROTO_TCP, TCP_NODELAY) == 1);
    CHECK(p.there.set_no_delay(false).has_value());
    CHECK(option_of(p.there, IPPROTO_TCP, TCP_NODELAY) == 0);
    CHECK(p.here.set_keep_alive({.idle = 7s, .interval = 3s, .probes = 2}).has_value());
    CHECK(option_of(p.here, SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(option_of(p.here, IPPROTO_TCP, TCP_KEEPINTVL) == 3);
    CHECK(option_of(p.here, IPPROTO_TCP, TCP_KEEPCNT) == 2);
    CHECK(p.here.stop_keep_alive().has_value());
    CHECK(option_of(p.here, SOL_SOCKET, SO_KEEPALIVE) == 0);
    CHECK(p.here.set_keep_alive({.idle = 0s}).error() == std::errc::invalid_argument);
    CHECK(p.here.set_receive_buffer(10'000).has_value());
    CHECK(p.here.set_send_buffer(10'000).has_value());
    CHECK(option_of(p.here, SOL_SOCKET, SO_SNDBUF) >= 10'000);
  });
}

TEST_CASE("descriptors of connections are not inherited") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    for (const int fd : {p.here.native_handle(), p.there.native_handle()}) {
      CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
      CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    }
  });
}

owned_fd file_of_digits() {
  owned_fd file = unnamed_file();
  REQUIRE(::write(file.get(), "0123456789", 10) == 10);
  return file;
}

TEST_CASE("send_file gives what it has sent, and 0 at the end of the file") {
  loop l;
  tcp_listener listener(l, loopback());
  const owned_fd file = file_of_digits();
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    CHECK((co_await p.here.send_file(file.get(), 2, 5)).value() == 5);
    CHECK((co_await p.here.send_file(file.get(), 8, 5)).value() == 2);
    CHECK((co_await p.here.send_file(file.get(), 10, 5)).value() == 0);
    CHECK((co_await p.here.send_file(-1, 0, 5)).error() == std::errc::bad_file_descriptor);
    const std::size_t all = std::numeric_limits<std::size_t>::max();
    CHECK((co_await p.here.send_file(file.get(), 7, all)).value() == 3);
    p.here.close();
    CHECK(co_await read_all(p.there) == "2345689789");
  });
}

TEST_CASE("send_file of nothing ends at once although the socket is full") {
  loop l;
  tcp_listener listener(l, loopback());
  const owned_fd file = file_of_digits();
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    const std::vector<std::byte> block(1 << 20);
    for (bool is_full = false; !is_full;) {
      auto [written, full] = co_await when_any(p.here.write_some(block), yield());
      is_full = full.has_value();
    }
    auto [sent, waits] = co_await when_any(p.here.send_file(file.get(), 0, 0), yield());
    REQUIRE(sent.has_value());
    CHECK(sent->value() == 0);
  });
}

TEST_CASE("send_file raises no SIGPIPE when the peer goes while a part was sent") {
  loop l;
  tcp_listener listener(l, loopback());
  const owned_fd file = unnamed_file();
  constexpr std::size_t size = 8 << 20;
  REQUIRE(::ftruncate(file.get(), size) == 0);
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    p.there.close();
    result<std::size_t> sent = std::size_t{0};
    while (sent) sent = co_await p.here.send_file(file.get(), 0, size);
    const bool has_gone =
        sent.error() == std::errc::broken_pipe || sent.error() == std::errc::connection_reset;
    CHECK(has_gone);
  });
}

TEST_CASE("a second task that reads gets an error, and the first goes on") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    std::array<std::byte, 8> room;
    const auto second = [&]() -> task<> {
      std::array<std::byte, 8> other;
      CHECK((co_await p.here.read_some(other)).error() == kedge::errc::already_awaited);
      CHECK((co_await p.there.write_some(bytes_of("x"))).value() == 1);
    };
    auto [n, done] = co_await when_all(p.here.read_some(room), second());
    CHECK(n.value() == 1);
  });
}

TEST_CASE("a transfer of nothing does not wait") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    std::array<std::byte, 8> room;
    // Now the socket is known to have nothing.
    CHECK((co_await with_timeout(0s, p.here.read_some(room))).error() == kedge::errc::timed_out);
    const std::array<std::span<std::byte>, 1> no_room{};
    const std::array<std::span<const std::byte>, 1> no_bytes{};
    auto [none, sent, yielded] =
        co_await when_any(p.here.read_some(no_room), p.here.write_some(no_bytes), yield());
    REQUIRE(none.has_value());
    CHECK(none->value() == 0);
    CHECK((co_await p.here.write_some(no_bytes)).value() == 0);
  });
}

TEST_CASE("a stream says when it can be read, for a buffer that is chosen then") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    CHECK((co_await p.here.writable()).has_value());
    CHECK((co_await p.there.write_some(bytes_of("x"))).value() == 1);
    CHECK((co_await p.here.readable()).has_value());
    std::array<std::byte, 8> room;
    CHECK((co_await p.here.read_some(room)).value() == 1);
  });
}

TEST_CASE("a stream that was read to the end of its bytes is readable with the next ones alone") {
  virtual_time time;
  loop l(time);
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    for (const std::size_t size : {8u, 3u}) {  // a read that fills the room, and a short one
      CAPTURE(size);
      std::array<std::byte, 8> room{};
      for (int i = 0; i < 3; ++i) {
        CAPTURE(i);
        const auto early = co_await with_timeout(1us, p.here.readable());
        CHECK(early.error() == kedge::errc::timed_out);
        CHECK((co_await p.there.write_some(std::span(room).first(size))).value() == size);
        CHECK((co_await p.here.readable()).has_value());
        CHECK((co_await p.here.readable()).has_value());
        CHECK((co_await p.here.read_some(room)).value() == size);
      }
    }
    p.there.close();
    CHECK((co_await p.here.readable()).has_value());  // at the end of the stream
    CHECK((co_await p.here.readable()).has_value());
  });
}

TEST_CASE("a listener that never listened has nothing to say") {
  const tcp_listener none;
  CHECK(none.shed() == 0);
  CHECK(none.addresses().empty());
  CHECK(!none.local_address());
  CHECK(!none);
}

TEST_CASE("close ends the reads and accepts in progress") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    pair p = co_await connected(listener);
    std::array<std::byte, 8> room;
    const auto close = [&]() -> task<> {
      p.here.close();
      listener.close();
      co_return;
    };
    auto [n, accepted, done] =
        co_await when_all(p.here.read_some(room), listener.accept(), close());
    CHECK(n.error() == kedge::errc::closed);
    CHECK(accepted.error() == kedge::errc::closed);
    CHECK((co_await listener.accept()).error() == kedge::errc::closed);
    CHECK(!listener);
  });
}

TEST_CASE("an accept that outlives its listener gives closed") {
  loop l;
  run_in(l, [&]() -> task<> {
    auto listener = std::make_unique<tcp_listener>(l, loopback());
    auto accepting = listener->accept();
    listener.reset();
    CHECK((co_await std::move(accepting)).error() == kedge::errc::closed);
  });
}

TEST_CASE("an accept that is cancelled takes no connection away") {
  loop l;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    (void)co_await when_any(listener.accept(), yield());
    pair p = co_await connected(listener);
    CHECK(static_cast<bool>(p.there));
  });
}

TEST_CASE("a listener takes connections on several addresses in turn") {
  loop l;
  const std::array<address, 2> both{loopback(), address::parse("[::1]:0").value()};
  tcp_listener listener(l, both);
  REQUIRE(listener.addresses().size() == 2);
  CHECK(listener.addresses()[0].family() == AF_INET);
  CHECK(listener.addresses()[1].family() == AF_INET6);
  run_in(l, [&]() -> task<> {
    for (const address& each : listener.addresses()) {
      address from;
      auto [here, there] = co_await when_all(connect(each), listener.accept(from));
      CHECK(here.has_value());
      CHECK(there.has_value());
      CHECK(from.family() == each.family());
    }
    // One that waits for both.
    const auto accept = [&]() -> task<> { CHECK((co_await listener.accept()).has_value()); };
    const auto dial = [&]() -> task<> {
      co_await yield();
      CHECK((co_await connect(listener.addresses()[1])).has_value());
    };
    co_await when_all(accept(), dial());
  });
}

TEST_CASE("an accept in a cancelled scope takes no connection, from one socket or several") {
  loop l;
  const std::array<address, 2> both{loopback(), address::parse("[::1]:0").value()};
  for (const std::size_t count : {std::size_t{1}, std::size_t{2}}) {
    CAPTURE(count);
    tcp_listener listener(l, std::span(both).first(count));
    run_in(l, [&]() -> task<> {
      auto here = co_await connect(listener.local_address());
      REQUIRE(here);
      const auto body = [&](scope& s) -> task<> {
        s.spawn(listener.accept());
        s.cancel();
        co_return;
      };
      co_await with_scope(body);
      const auto taken = co_await with_timeout(1h, listener.accept());
      REQUIRE(taken);
      CHECK(taken->peer_address().value() == here->local_address().value());
    });
  }
}

TEST_CASE("the wildcard of IPv6 takes IPv4 too, unless it is told not to") {
  loop l;
  tcp_listener listener(l, address::parse(":0").value());
  tcp_listener v6(l, address::parse("[::]:0").value(), {.v6_only = true});
  run_in(l, [&]() -> task<> {
    auto [here, there] =
        co_await when_all(connect(loopback(listener.local_address().port())), listener.accept());
    CHECK(here.has_value());
    CHECK(there.has_value());
    const auto refused = co_await connect(loopback(v6.local_address().port()));
    REQUIRE(!refused);
    CHECK(refused.error().code() == std::errc::connection_refused);
  });
}

TEST_CASE("what cannot be listened on says why") {
  loop l;
  tcp_listener listener(l, loopback());
  const std::string text = listener.local_address().text();
  const std::string in_use = message_of([&] { tcp_listener(l, listener.local_address()); });
  CHECK(in_use.starts_with("listen on " + text));
  CHECK(in_use.find("Address already in use") != std::string::npos);
  const std::string holder = "process " + std::to_string(::getpid());
  if (in_use.find("which ") != std::string::npos) CHECK(in_use.find(holder) != std::string::npos);
  CHECK(message_of([&] { tcp_listener(l, address::parse("192.0.2.1:80").value()); }) ==
        "listen on 192.0.2.1:80: Cannot assign requested address");
  CHECK(message_of([&] { tcp_listener(l, address::parse("unix:/x").value()); }) ==
        "listen on unix:/x: the address is neither IPv4 nor IPv6");
  CHECK(message_of([&] { tcp_listener(l, address()); }) ==
        "listen on : the address is neither IPv4 nor IPv6");
}

TEST_CASE("listeners share a port if both allow it") {
  loop l;
  tcp_listener first(l, loopback(), {.reuse_port = true});
  tcp_listener second(l, first.local_address(), {.reuse_port = true});
  CHECK(second.local_address() == first.local_address());
}

TEST_CASE("a listener without descriptors and connections waits, and does not spin") {
  loop l;
  const std::array<address, 2> both{loopback(), address::parse("[::1]:0").value()};
  for (const std::size_t count : {std::size_t{1}, std::size_t{2}}) {
    CAPTURE(count);
    tcp_listener listener(l, std::span(both).first(count));
    l.spawn(listener.accept());
    while (l.poll()) {
    }
    listener.close();
    while (l.poll()) {
    }
    tcp_listener again(l, std::span(both).first(count));
    const full_table none_left;
    l.spawn(again.accept());
    int turns = 0;
    while (turns < 100 && l.poll()) ++turns;
    CHECK(turns < 100);
    CHECK(again.shed() == 0);
    again.close();
    while (l.poll()) {
    }
  }
}

TEST_CASE("without a descriptor a connection is reset and counted, and the listener goes on") {
  loop l;
  tcp_listener listener(l, loopback());
  int client = ::socket(AF_INET, SOCK_STREAM, 0);
  int later = ::socket(AF_INET, SOCK_STREAM, 0);
  run_in(l, [&]() -> task<> {
    {
      full_table none_left;
      const address& to = listener.local_address();
      REQUIRE(::connect(client, to.data(), to.size()) == 0);
      (void)co_await when_any(listener.accept(), yield());
      CHECK(listener.shed() == 1);
      char byte;
      CHECK(::read(client, &byte, 1) == -1);
      CHECK(errno == ECONNRESET);
      REQUIRE(::connect(later, to.data(), to.size()) == 0);
      none_left.give(2);
      CHECK((co_await listener.accept()).has_value());
    }
    CHECK(listener.shed() == 1);
  });
  ::close(client);
  ::close(later);
}

TEST_CASE("without a spare descriptor either, accept tries again after 100 ms") {
  virtual_time time;
  loop l(time);
  tcp_listener listener(l, loopback());
  const auto scenario = [&](bool is_full) -> task<> {
    const owned_fd client(::socket(AF_INET, SOCK_STREAM, 0));
    const owned_fd second(::socket(AF_INET, SOCK_STREAM, 0));
    const auto begin = time.now();
    const address& to = listener.local_address();
    std::optional<full_table> none_left;
    if (is_full) none_left.emplace();
    REQUIRE(::connect(client.get(), to.data(), to.size()) == 0);
    REQUIRE(::connect(second.get(), to.data(), to.size()) == 0);
    // Another thread takes the spare descriptor while it is closed: here the limit does.
    rlimit lower{};
    ::getrlimit(RLIMIT_NOFILE, &lower);
    const rlim_t before = lower.rlim_cur;
    if (is_full) lower.rlim_cur = 3;
    ::setrlimit(RLIMIT_NOFILE, &lower);
    const auto raise = [&]() -> task<> {
      co_await sleep_for(150ms);
      lower.rlim_cur = before;
      ::setrlimit(RLIMIT_NOFILE, &lower);
      if (none_left) none_left->give(3);
    };
    auto [taken, raised] = co_await when_all(listener.accept(), raise());
    CHECK(taken.has_value());
    CHECK(time.now() - begin == (is_full ? 200ms : 150ms));
    if (!is_full) CHECK((co_await listener.accept()).has_value());
  };
  // UndefinedBehaviorSanitizer opens a pipe for each type that it meets first: here, not later.
  run_in(l, [&]() -> task<> { co_await scenario(false); });
  run_in(l, [&]() -> task<> { co_await scenario(true); });
}

TEST_CASE("a refused connection names the address") {
  loop l;
  const address nobody = tcp_listener(l, loopback()).local_address();
  run_in(l, [&]() -> task<> {
    const auto refused = co_await connect("127.0.0.1", nobody.port());
    REQUIRE(!refused);
    CHECK(refused.error().code() == std::errc::connection_refused);
    CHECK(refused.error().attempts().size() == 1);
    CHECK(refused.error().text() == nobody.text() + ": Connection refused");
    CHECK(message_of([&] { (void)refused.value(); }).find(nobody.text() + ": Connection refused") !=
          std::string::npos);
  });
}

TEST_CASE("connect goes on to the next address when one fails, and closes the others") {
  loop l;
  tcp_listener listener(l, loopback());
  const address nobody = tcp_listener(l, loopback()).local_address();
  run_in(l, [&]() -> task<> {
    std::vector<address> all{nobody, nobody, listener.local_address()};
    auto made = co_await connect(std::move(all), {.stagger = 1h});
    REQUIRE(made);
    CHECK(made->peer_address().value() == listener.local_address());
  });
}

TEST_CASE("connect names every address that it has tried") {
  loop l;
  const address a = tcp_listener(l, loopback()).local_address();
  const address b = tcp_listener(l, address::parse("[::1]:0").value()).local_address();
  run_in(l, [&]() -> task<> {
    std::vector<address> all{a, a, b};
    const auto refused = co_await connect(std::move(all));
    REQUIRE(!refused);
    const auto& attempts = refused.error().attempts();
    REQUIRE(attempts.size() == 3);
    CHECK(attempts[1].to == b);  // families take turns
    CHECK(refused.error().text() == a.text() + ": Connection refused; " + b.text() +
                                        ": Connection refused; " + a.text() +
                                        ": Connection refused");
  });
}

TEST_CASE("connect refuses what is no internet address, and nothing at all") {
  loop l;
  run_in(l, [&]() -> task<> {
    const auto none = co_await connect(std::vector<address>());
    CHECK(none.error().code() == errc::no_address);
    const auto other = co_await connect(address::unix_path("/x").value());
    CHECK(other.error().code() == errc::not_an_internet_address);
    const auto bad = co_await connect("127.0.0.1", "70000");
    CHECK(bad.error().code() == errc::bad_port);
    CHECK(bad.error().text() == "127.0.0.1:70000: the port is not a number from 0 to 65535");
  });
}

// A connection to it neither fails nor is made.
struct deaf_listener : raw_listener {
  deaf_listener() : raw_listener(loopback(), 0) { fill(); }
};

TEST_CASE("an address that does not answer is overtaken by the next after the stagger") {
  virtual_time time;
  loop l(time);
  deaf_listener deaf;
  tcp_listener listener(l, loopback());
  run_in(l, [&]() -> task<> {
    const auto begin = time.now();
    std::vector<address> all{deaf.at(), listener.local_address()};
    auto made = co_await connect(std::move(all));
    REQUIRE(made);
    CHECK(made->peer_address().value() == listener.local_address());
    CHECK(time.now() - begin == 250ms);
  });
}

TEST_CASE("a connect with a time-out names the addresses that did not answer") {
  virtual_time time;
  loop l(time);
  deaf_listener deaf;
  const address nobody = tcp_listener(l, loopback()).local_address();
  run_in(l, [&]() -> task<> {
    const auto begin = time.now();
    std::vector<address> all{deaf.at(), nobody};
    const connect_options limit{.timeout = 3s};
    const auto made = co_await connect(std::move(all), limit);
    REQUIRE(!made);
    CHECK(time.now() - begin == 3s);
    CHECK(made.error().code() == kedge::errc::timed_out);
    CHECK(made.error().text() ==
          deaf.at().text() + ": timed out; " + nobody.text() + ": Connection refused");
    const auto alone = co_await connect(deaf.at(), limit);
    REQUIRE(!alone);
    CHECK(alone.error().text() == deaf.at().text() + ": timed out");
  });
}

TEST_CASE("a connect that takes too long hands back what its caller gave up") {
  virtual_time time;
  loop l(time);
  deaf_listener deaf;
  run_in(l, [&]() -> task<> {
    const auto made = co_await with_timeout(3s, connect(deaf.at()));
    REQUIRE(!made);
    CHECK(made.error().code() == kedge::errc::timed_out);
    CHECK(made.error().attempts().empty());
    CHECK(made.error().text() == "timed out");
  });
}

}  // namespace
}  // namespace kedge::net
