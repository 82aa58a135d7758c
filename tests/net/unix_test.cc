// unix_stream and unix_listener: descriptors that travel along, credentials, and socket files.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kedge/net/connect.h"
#include "kedge/net/errc.h"
#include "kedge/net/unix_listener.h"
#include "kedge/net/unix_stream.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/with_timeout.h"
#include "message_of.h"
#include "open_descriptors.h"
#include "run_in.h"
#include "tests/temporary_folder.h"
#include "text.h"

namespace kedge::net {
namespace {

using namespace std::chrono_literals;

// An open file with its own inode, to tell descriptors apart.
owned_fd open_null() {
  return owned_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

bool is_socket_file(const std::string& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

TEST_CASE("a pair carries bytes, and each direction ends by itself") {
  loop l;
  auto [a, b] = unix_stream::pair(l);
  run_in(l, [&]() -> task<> {
    std::array<std::byte, 8> room;
    CHECK((co_await a.write_some(bytes_of("x"))).value() == 1);
    CHECK(a.shutdown_write().has_value());
    CHECK((co_await b.read_some(room)).value() == 1);
    CHECK((co_await b.read_some(room)).error() == kedge::errc::end_of_file);
    CHECK((co_await b.write_some(bytes_of("yz"))).value() == 2);
    CHECK((co_await a.read_some(room)).value() == 2);
    b.close();
    CHECK((co_await a.write_some(bytes_of("x"))).error() == std::errc::broken_pipe);
  });
}

TEST_CASE("descriptors come with the first byte that they were sent with, and a read ends there") {
  loop l;
  auto [a, b] = unix_stream::pair(l);
  run_in(l, [&]() -> task<> {
    const owned_fd null = open_null();
    const std::array<int, 2> sent{null.get(), null.get()};
    std::array<std::byte, 8> room;
    CHECK((co_await a.write_some(bytes_of("before"))).value() == 6);
    CHECK((co_await a.write_some(bytes_of("with"), sent)).value() == 4);
    CHECK((co_await a.write_some(bytes_of("after"))).value() == 5);
    received_fds fds(4);
    CHECK((co_await b.read_some(std::span(room).first(6), fds)).value() == 6);
    CHECK(fds.empty());
    CHECK((co_await b.read_some(room, fds)).value() == 4);
    REQUIRE(fds.size() == 2);
    CHECK((::fcntl(fds[0], F_GETFD) & FD_CLOEXEC) != 0);
    const owned_fd taken = fds.take(1);
    struct stat before{};
    struct stat after{};
    ::fstat(null.get(), &before);
    ::fstat(taken.get(), &after);
    CHECK(before.st_rdev == after.st_rdev);
    CHECK((co_await b.read_some(room, fds)).value() == 5);
    CHECK(fds.size() == 2);
    CHECK(fds[1] == -1);
  });
}

TEST_CASE(
    "descriptors that the receiver does not take are closed, and so are those beyond the limit") {
  loop l;
  auto [a, b] = unix_stream::pair(l);
  run_in(l, [&]() -> task<> {
    const owned_fd null = open_null();
    const std::vector<int> sent(unix_stream::most_fds, null.get());
    std::array<std::byte, 8> room;
    const std::size_t before = open_descriptors();
    {
      received_fds one(1);
      CHECK((co_await a.write_some(bytes_of("x"), sent)).value() == 1);
      CHECK((co_await b.read_some(room, one)).value() == 1);
      CHECK(one.size() == 1);
      CHECK(one.dropped() == unix_stream::most_fds - 1);
      CHECK(open_descriptors() == before + 1);
      one.clear();
      CHECK(open_descriptors() == before);
      CHECK(one.dropped() == 0);
    }
    CHECK((co_await a.write_some(bytes_of("x"), sent)).value() == 1);
    CHECK((co_await b.read_some(room)).value() == 1);  // that does not ask for them
    CHECK(open_descriptors() == before);
    CHECK((co_await a.write_some(bytes_of("x"), sent)).value() == 1);
    b.close();  // with them in the queue
    CHECK(open_descriptors() == before - 1);
  });
}

#ifdef SO_PASSCRED
TEST_CASE("credentials that the program has asked for take no descriptor's place") {
  loop l;
  auto [a, b] = unix_stream::pair(l);
  constexpr int on = 1;
  REQUIRE(::setsockopt(b.native_handle(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
  run_in(l, [&]() -> task<> {
    const owned_fd null = open_null();
    const std::vector<int> sent(unix_stream::most_fds, null.get());
    std::array<std::byte, 8> room;
    received_fds all(unix_stream::most_fds);
    CHECK((co_await a.write_some(bytes_of("x"), sent)).value() == 1);
    CHECK((co_await b.read_some(room, all)).value() == 1);
    CHECK(all.size() == unix_stream::most_fds);
    CHECK(all.dropped() == 0);
  });
}
#endif

TEST_CASE("descriptors that are lost because the process has none free are counted") {
  loop l;
  auto [a, b] = unix_stream::pair(l);
  run_in(l, [&]() -> task<> {
    const owned_fd null = open_null();
    const std::array<int, 1> one{null.get()};
    std::array<std::byte, 8> room;
    received_fds fds(4);
    CHECK((co_await a.write_some(bytes_of("x"), one)).value() == 1);
    CHECK((co_await b.read_some(room, fds)).value() == 1);
    CHECK(fds.dropped() == 0);
    CHECK((co_await a.write_some(bytes_of("x"), one)).value() == 1);
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    rlimit none = before;
    none.rlim_cur = 0;
    ::setrlimit(RLIMIT_NOFILE, &none);
    const auto n = co_await b.read_some(room, fds);
    ::setrlimit(RLIMIT_NOFILE, &before);
    CHECK(n.value() == 1);
    CHECK(fds.size() == 1);
    CHECK(fds.dropped() == 1);
  });
}

TEST_CASE("what cannot carry descriptors is an error") {
  loop l;
  auto [a, b] = unix_stream::pair(l);
  run_in(l, [&]() -> task<> {
    const owned_fd null = open_null();
    const std::array<int, 1> one{null.get()};
    const std::array<int, 1> closed{-1};
    const std::vector<int> too_many(unix_stream::most_fds + 1, null.get());
    const auto without_bytes = co_await a.write_some(bytes_of(""), one);
    CHECK(without_bytes.error() == std::errc::invalid_argument);
    const auto beyond = co_await a.write_some(bytes_of("x"), too_many);
    CHECK(beyond.error() == std::errc::invalid_argument);
    const auto not_open = co_await a.write_some(bytes_of("x"), closed);
    CHECK(not_open.error() == std::errc::bad_file_descriptor);
    CHECK((co_await a.write_some(bytes_of(""), std::span<const int>())).value() == 0);
    CHECK((co_await a.write_some(bytes_of("x"), std::span<const int>())).value() == 1);
    received_fds fds(1);
    CHECK((co_await b.read_some(std::span<std::byte>(), fds)).value() == 0);
    a.close();
    std::array<std::byte, 8> room;
    CHECK((co_await b.read_some(room, fds)).value() == 1);
    CHECK((co_await b.read_some(room, fds)).error() == kedge::errc::end_of_file);
  });
}

TEST_CASE("a read that waits for descriptors is cancelled without losing them") {
  loop l;
  auto [a, b] = unix_stream::pair(l);
  run_in(l, [&]() -> task<> {
    const owned_fd null = open_null();
    const std::array<int, 1> one{null.get()};
    std::array<std::byte, 8> room;
    received_fds fds(1);
    const auto late = co_await with_timeout(0s, b.read_some(room, fds));
    CHECK(late.error() == kedge::errc::timed_out);
    CHECK((co_await a.write_some(bytes_of("x"), one)).value() == 1);
    CHECK((co_await b.read_some(room, fds)).value() == 1);
    CHECK(fds.size() == 1);
  });
}

TEST_CASE("the peer's credentials are those of its process") {
  loop l;
  auto [a, b] = unix_stream::pair(l);
  const peer_credentials peer = a.credentials().value();
  CHECK(peer.user == ::geteuid());
  CHECK(peer.group == ::getegid());
  CHECK(peer.process == ::getpid());
  a.close();
  CHECK(a.credentials().error() == kedge::errc::closed);
}

TEST_CASE("a listener makes its file and removes it") {
  const temporary_folder folder("/tmp");
  const std::string path = folder.path() + "/s";
  loop l;
  unix_listener listener(l, address::unix_path(path).value(), {.mode = 0600});
  struct stat status{};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  run_in(l, [&]() -> task<> {
    auto [here, there] =
        co_await when_all(connect_unix(listener.local_address()), listener.accept());
    CHECK(here.value().peer_address().value() == listener.local_address());
    CHECK(there.value().peer_address().value().text() == "unix:");
    CHECK(there.value().credentials().value().process == ::getpid());
  });
  listener.close();
  CHECK(!is_socket_file(path));
  CHECK(!listener);
}

TEST_CASE("a listener removes its file although the working directory has changed") {
  const temporary_folder folder("/tmp");
  const std::string before = std::filesystem::current_path().string();
  loop l;
  std::filesystem::current_path(folder.path());
  unix_listener listener(l, address::parse("unix:s").value());
  std::filesystem::current_path(before);
  CHECK(is_socket_file(folder.path() + "/s"));
  listener.close();
  CHECK(!is_socket_file(folder.path() + "/s"));
}

TEST_CASE("a listener that is assigned to removes its own file") {
  const temporary_folder folder("/tmp");
  const std::string path = folder.path() + "/s";
  loop l;
  unix_listener listener(l, address::unix_path(path).value());
  listener = unix_listener(l, address::unix_path(path + "2").value());
  CHECK(!is_socket_file(path));
  CHECK(is_socket_file(path + "2"));
  unix_listener moved = std::move(listener);
  CHECK(is_socket_file(path + "2"));
  CHECK(!listener);
  CHECK(moved.local_address().path() == path + "2");
}

TEST_CASE("the file of a listener that was killed is replaced") {
  const temporary_folder folder("/tmp");
  const std::string path = folder.path() + "/s";
  const address at = address::unix_path(path).value();
  {
    const owned_fd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    REQUIRE(::bind(dead.get(), at.data(), at.size()) == 0);
    REQUIRE(::listen(dead.get(), 1) == 0);
  }
  REQUIRE(is_socket_file(path));
  loop l;
  const unix_listener listener(l, at);
  CHECK(is_socket_file(path));
}

TEST_CASE("the file of a living listener is not, and who listens is said") {
  const temporary_folder folder("/tmp");
  const std::string path = folder.path() + "/s";
  const address at = address::unix_path(path).value();
  loop l;
  unix_listener first(l, at);
  const std::string in_use = message_of([&] { unix_listener(l, at); });
  CHECK(in_use.starts_with("listen on unix:" + path));
  CHECK(in_use.ends_with("Address already in use"));
  if (in_use.find("which ") != std::string::npos) {
    CHECK(in_use.find("process " + std::to_string(::getpid())) != std::string::npos);
  }
  run_in(l, [&]() -> task<> {  // the failed listener has not removed it
    CHECK((co_await connect_unix(at)).has_value());
  });
}

TEST_CASE("a file that is no socket is left alone") {
  const temporary_folder folder("/tmp");
  const std::string path = folder.path() + "/s";
  ::close(::open(path.c_str(), O_CREAT | O_WRONLY, 0600));
  loop l;
  const std::string in_use =
      message_of([&] { unix_listener(l, address::unix_path(path).value()); });
  CHECK(in_use == "listen on unix:" + path + ": Address already in use");
  CHECK(::access(path.c_str(), F_OK) == 0);
}

TEST_CASE("a file that another program has put in the place is not removed") {
  const temporary_folder folder("/tmp");
  const std::string path = folder.path() + "/s";
  loop l;
  unix_listener listener(l, address::unix_path(path).value());
  REQUIRE(::rename(path.c_str(), (path + "old").c_str()) == 0);
  ::close(::open(path.c_str(), O_CREAT | O_WRONLY, 0600));
  listener.close();
  CHECK(::access(path.c_str(), F_OK) == 0);
}

TEST_CASE("a forked child leaves the file to its parent") {
  const temporary_folder folder("/tmp");
  const std::string path = folder.path() + "/s";
  loop l;
  unix_listener listener(l, address::unix_path(path).value());
  const pid_t child = ::fork();
  if (child == 0) {
    listener.close();
    ::_exit(0);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(is_socket_file(path));
}

TEST_CASE("a folder that is not there, and an address of another kind, say so") {
  loop l;
  CHECK(message_of([&] { unix_listener(l, address::unix_path("/no/such/folder/s").value()); }) ==
        "listen on unix:/no/such/folder/s: No such file or directory");
  CHECK(message_of([&] { unix_listener(l, address::parse("127.0.0.1:0").value()); }) ==
        "listen on 127.0.0.1:0: the address is not that of a Unix socket");
}

TEST_CASE("an abstract name needs no file") {
  const result<address> at = address::parse("unix:@kedge-test-" + std::to_string(::getpid()));
  if (!at) return;  // address_test.cc has what other systems say
  loop l;
  unix_listener listener(l, *at);
  run_in(l, [&]() -> task<> {
    auto [here, there] = co_await when_all(connect_unix(*at), listener.accept());
    CHECK(here.has_value());
    CHECK(there.has_value());
  });
}

TEST_CASE("connect_unix says why it has no connection") {
  const temporary_folder folder("/tmp");
  const address at = address::unix_path(folder.path() + "/s").value();
  loop l;
  run_in(l, [&]() -> task<> {
    const auto missing = co_await connect_unix(at);
    REQUIRE(!missing);
    CHECK(missing.error().code() == std::errc::no_such_file_or_directory);
    CHECK(missing.error().text() == at.text() + ": No such file or directory");
    const auto other = co_await connect_unix(address());
    CHECK(other.error().code() == errc::not_a_unix_address);
  });
}

TEST_CASE("connect_unix waits while the backlog is full") {
  const temporary_folder folder("/tmp");
  const address at = address::unix_path(folder.path() + "/s").value();
  virtual_time time;
  loop l(time);
  unix_listener listener(l, at, {.backlog = 0});
  run_in(l, [&]() -> task<> {
    const auto begin = time.now();
    auto first = co_await connect_unix(at);
    CHECK(first.has_value());
    const auto accept_later = [&]() -> task<> {
      co_await sleep_for(10ms);
      CHECK((co_await listener.accept()).has_value());
    };
    auto [second, accepted] = co_await when_all(connect_unix(at), accept_later());
    CHECK(second.has_value());
    CHECK(time.now() - begin == 15ms);  // 1, 2, 4 and 8 ms
  });
}

}  // namespace
}  // namespace kedge::net
