// motd and socks5, as service managers, curl and hostile peers use them.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "program.h"
#include "tcp_client.h"
#include "tests/temporary_folder.h"
#include "unix_name.h"

namespace {

const std::string motd = "tools/examples/motd";
const std::string socks5 = "tools/examples/socks5";

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

// A Unix socket that is bound to a path.
class bound_socket {
 public:
  bound_socket(int type, const std::string& path) : fd_(::socket(AF_UNIX, type, 0)) {
    const sockaddr_un name = unix_name(path);
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0);
  }
  bound_socket(const bound_socket&) = delete;
  bound_socket& operator=(const bound_socket&) = delete;
  ~bound_socket() { ::close(fd_); }
  int fd() const noexcept { return fd_; }
  // Waits for a datagram. What never sends one makes the test fail after a minute.
  std::string receive() const {
    constexpr timeval a_minute{60, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &a_minute, sizeof(a_minute));
    std::array<char, 1000> room;
    const ssize_t n = ::recv(fd_, room.data(), room.size(), 0);
    return {room.data(), n > 0 ? static_cast<std::size_t>(n) : 0};
  }

 private:
  int fd_;
};

// Connects to a Unix socket, and reads to the end.
std::string ask(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  const sockaddr_un name = unix_name(path);
  REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0);
  std::string all(1000, '\0');
  const ssize_t n = ::recv(fd, all.data(), all.size(), MSG_WAITALL);
  ::close(fd);
  all.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return all;
}

}  // namespace

TEST_CASE("motd tells the message, reads it again on SIGHUP, and stops on SIGTERM") {
  const temporary_folder folder("/tmp");
  const std::string file = folder / "motd";
  const std::string path = folder / "s";
  const bound_socket manager(SOCK_DGRAM, folder / "notify");
  write_file(file, "hello\n");
  program p({"/usr/bin/env", "NOTIFY_SOCKET=" + (folder / "notify"), motd, file, "unix:" + path});
  CHECK(manager.receive() == "READY=1");
  CHECK(ask(path) == "hello\n");
  write_file(file, "good morning\n");
  p.signal(SIGHUP);
  CHECK(manager.receive().starts_with("RELOADING=1\nMONOTONIC_USEC="));
  CHECK(manager.receive() == "STATUS=read 13 bytes");
  CHECK(manager.receive() == "READY=1");
  CHECK(ask(path) == "good morning\n");
  ::unlink(file.c_str());
  p.signal(SIGHUP);
  CHECK(manager.receive().starts_with("RELOADING=1\n"));
  CHECK(manager.receive() == "STATUS=cannot reload: " + file + ": No such file or directory");
  CHECK(manager.receive() == "READY=1");
  CHECK(ask(path) == "good morning\n");
  p.signal(SIGTERM);
  CHECK(manager.receive() == "STOPPING=1");
  const outcome o = p.finish();
  CHECK(o.status == 0);
  CHECK(o.err == "motd: cannot reload: " + file + ": No such file or directory\n");
  CHECK(::access(path.c_str(), F_OK) != 0);
}

TEST_CASE("motd takes the socket that was handed over, and leaves its file") {
  const temporary_folder folder("/tmp");
  const std::string path = folder / "s";
  write_file(folder / "motd", "hello\n");
  const bound_socket socket(SOCK_STREAM, path);
  REQUIRE(::listen(socket.fd(), 5) == 0);
  const std::string script = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$2 exec $0 $1";
  program p({"/bin/sh", "-c", script, motd, folder / "motd", "motd"}, socket.fd());
  CHECK(ask(path) == "hello\n");
  p.signal(SIGTERM);
  CHECK(p.finish().status == 0);
  CHECK(::access(path.c_str(), F_OK) == 0);

  program other({"/bin/sh", "-c", script, motd, folder / "motd", "other"}, socket.fd());
  const outcome o = other.finish();
  CHECK(o.status == 78);
  CHECK(o.err ==
        "motd: no socket \"motd\" was handed over, and there is no address to listen on\n");
}

TEST_CASE("motd is started by systemd-socket-activate") {
  const std::string activate = "/usr/bin/systemd-socket-activate";
  if (::access(activate.c_str(), X_OK) != 0) {
    MESSAGE("skipped: this machine has no systemd-socket-activate");
    return;
  }
  const temporary_folder folder("/tmp");
  const std::string path = folder / "s";
  write_file(folder / "motd", "hello\n");
  program p({"/bin/sh", "-c", "exec \"$0\" \"$@\" 2>&1", activate, "-l", path, "--fdname=motd",
             motd, folder / "motd"});
  REQUIRE(p.read_until("Listening on"));
  CHECK(ask(path) == "hello\n");
  CHECK(ask(path) == "hello\n");
  p.signal(SIGTERM);
  CHECK(p.finish().status == 0);
}

TEST_CASE("motd says what is wrong with its arguments, and with its environment") {
  CHECK(run({motd, "--help"}).out == "usage: motd FILE [unix:PATH]\n");
  CHECK(run({motd}).status == 2);
  const outcome address = run({motd, "/dev/null", "127.0.0.1"});
  CHECK(address.status == 2);
  CHECK(address.err == "motd: 127.0.0.1: the port is missing, as in 127.0.0.1:80\n");
  const outcome file = run({motd, "/nowhere/motd", "unix:/tmp/x"});
  CHECK(file.status == 1);
  CHECK(file.err == "motd: /nowhere/motd: No such file or directory\n");
  const outcome count = run({"/usr/bin/env", "LISTEN_FDS=x", motd, "/dev/null"});
  CHECK(count.status == 78);
  CHECK(count.err == "motd: LISTEN_FDS is \"x\", which is not a number\n");
  const outcome manager = run({"/usr/bin/env", "NOTIFY_SOCKET=/nowhere/n", motd, "/dev/null"});
  CHECK(manager.status == 78);
  CHECK(manager.err == "motd: NOTIFY_SOCKET is \"/nowhere/n\": No such file or directory\n");
}

// --- socks5 -------------------------------------------------------------------------------------

namespace {

using namespace std::string_literals;

#ifdef __has_feature
constexpr bool needs_descriptors = __has_feature(address_sanitizer);
#else
constexpr bool needs_descriptors = false;
#endif

// A server that the test plays.
class target {
 public:
  explicit target(int family = AF_INET) : fd_(::socket(family, SOCK_STREAM, 0)) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_addr = in6addr_loopback;
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool is_v6 = family == AF_INET6;
    const auto* const at =
        is_v6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
    is_open_ = ::bind(fd_, at, is_v6 ? sizeof(v6) : sizeof(v4)) == 0 && ::listen(fd_, 5) == 0;
    sockaddr_in6 bound{};
    socklen_t size = sizeof(bound);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &size);
    port_ = ntohs(bound.sin6_port);  // both have it in the same place
  }
  target(const target&) = delete;
  target& operator=(const target&) = delete;
  ~target() { ::close(fd_); }

  bool is_open() const noexcept { return is_open_; }
  std::uint16_t port() const noexcept { return port_; }
  std::unique_ptr<tcp_client> accept() const {
    return std::make_unique<tcp_client>(tcp_client::connected, ::accept(fd_, nullptr, nullptr));
  }

 private:
  int fd_;
  bool is_open_ = false;
  std::uint16_t port_ = 0;
};

// The two bytes of a port.
std::string bytes_of(std::uint16_t port) {
  return {static_cast<char>(port >> 8), static_cast<char>(port & 0xff)};
}

const std::string hello = "\5\1\0"s;
const std::string loopback = "\1\177\0\0\1"s;  // with its type

// Sends a request, and gives the code of the reply, or -1 if there is none.
int request(const tcp_client& c, const std::string& head, const std::string& to,
            std::uint16_t port) {
  c.send(hello + head + to + bytes_of(port));
  if (c.read(2) != "\5\0"s) return -1;
  const std::string reply = c.read(4);
  if (reply.size() != 4) return -1;
  c.read(reply[3] == 4 ? 18 : 6);
  return reply[1];
}
int connect_by(const tcp_client& c, const std::string& to, std::uint16_t port) {
  return request(c, "\5\1\0"s, to, port);
}

}  // namespace

TEST_CASE("socks5 connects by IPv4, IPv6 and name, and passes on bytes and ends") {
  program p({socks5, "127.0.0.1:0"});
  const std::uint16_t proxy = port_of(p);
  struct row {
    std::string to;
    int family;
  };
  for (const row& r : {
           row{loopback, AF_INET},
           row{"\4"s + std::string(15, '\0') + "\1", AF_INET6},
           row{"\3\11"
               "localhost",
               AF_INET},
           row{"\3\11"
               "127.0.0.1",
               AF_INET},
       }) {
    CAPTURE(r.to);
    const target server(r.family);
    if (!server.is_open()) {
      MESSAGE("skipped: this machine has no IPv6");
      continue;
    }
    const tcp_client client(proxy);
    REQUIRE(connect_by(client, r.to, server.port()) == 0);
    const auto peer = server.accept();
    client.send("question");
    CHECK(peer->read(8) == "question");
    client.end();
    CHECK(peer->read(1).empty());
    peer->send("answer");
    peer->end();
    CHECK(client.read(100) == "answer");
  }
  p.signal(SIGTERM);
  const outcome o = p.finish();
  CHECK(o.status == 0);
  CHECK(o.err.empty());
}

TEST_CASE("socks5 refuses what it cannot do by a reply, and with a line") {
  std::uint16_t closed = 0;
  {
    closed = target().port();
  }
  struct row {
    std::string head;
    std::string to;
    int reply;
    std::string line;
  };
  for (const row& r : {
           row{"\5\1\0"s, loopback, 5, "Connection refused"},
           row{"\5\2\0"s, loopback, 7, "the command is not CONNECT"},
           row{"\5\1\0"s, "\2\0\0\0\0"s, 8, "the type of the address is unknown"},
           row{"\5\1\0"s, "\3\100" + std::string(64, 'x'), 4, "xxxx"},
           row{"\4\1\0"s, loopback, -1, "the request is not one of SOCKS5"},
       }) {
    CAPTURE(r.line);
    program p({socks5, "127.0.0.1:0"});
    CHECK(request(tcp_client(port_of(p)), r.head, r.to, closed) == r.reply);
    p.signal(SIGTERM);
    CHECK(p.finish().err.find(r.line) != std::string::npos);
  }
  program p({socks5, "127.0.0.1:0"});
  const std::uint16_t proxy = port_of(p);
  const tcp_client knows_password(proxy);
  knows_password.send("\5\1\2"s);
  CHECK(knows_password.read(3) == "\5\xff"s);
  const tcp_client speaks_http(proxy);
  speaks_http.send("GET / HTTP/1.0\r\n\r\n");
  CHECK(speaks_http.read(1).empty());
  p.signal(SIGTERM);
  const outcome o = p.finish();
  CHECK(o.status == 0);
  CHECK(o.err.find("the client wants to authenticate itself") != std::string::npos);
  CHECK(o.err.find("the client does not speak SOCKS5") != std::string::npos);
}

TEST_CASE("socks5 is used by curl") {
  const std::string curl = "/usr/bin/curl";
  if (::access(curl.c_str(), X_OK) != 0) {
    MESSAGE("skipped: this machine has no curl");
    return;
  }
  program p({socks5, "127.0.0.1:0"});
  const std::string proxy = "127.0.0.1:" + std::to_string(port_of(p));
  for (const std::string& how : {"--socks5"s, "--socks5-hostname"s}) {
    CAPTURE(how);
    const target server;
    const std::string url = "http://localhost:" + std::to_string(server.port()) + "/";
    program client({curl, "-sS", "-4", "--noproxy", "", how, proxy, url});
    const auto peer = server.accept();
    std::string question;
    while (question.find("\r\n\r\n") == std::string::npos) question += peer->read(1);
    CHECK(question.starts_with("GET / HTTP/1.1\r\n"));
    peer->send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n");
    const outcome o = client.finish();
    CHECK(o.status == 0);
    CHECK(o.out == "hello\n");
    CHECK(o.err.empty());
  }
}

TEST_CASE("socks5 serves others while clients are slow, endless or reset at once") {
  program p({socks5, "-t", "1", "127.0.0.1:0"});
  const std::uint16_t proxy = port_of(p);
  const target server;
  const tcp_client slow(proxy);
  slow.send("\5");
  for (int i = 0; i < 50; ++i) tcp_client(proxy).reset_at_close();
  const tcp_client endless(proxy);
  endless.send(hello + "\5\1\0\3\xff" + std::string(10'000, 'x'));

  const tcp_client client(proxy);
  REQUIRE(connect_by(client, loopback, server.port()) == 0);
  const auto peer = server.accept();
  client.send("question");
  CHECK(peer->read(8) == "question");

  CHECK(slow.read(1).empty());  // ends when its second has passed
  client.send("more");
  CHECK(peer->read(4) == "more");
  endless.end();
  while (!endless.read(1).empty()) continue;
  client.end();
  peer->end();
  CHECK(client.read(1).empty());
  p.signal(SIGTERM);
  const outcome o = p.finish();
  CHECK(o.status == 0);
  CHECK(o.err.find("timed out") != std::string::npos);
}

TEST_CASE("socks5 takes no more from a server than a client reads, and then ends both") {
  program p({socks5, "-t", "1", "127.0.0.1:0"});
  const target server;
  const tcp_client client(port_of(p));
  REQUIRE(connect_by(client, loopback, server.port()) == 0);
  const auto peer = server.accept();
  const std::string block(1'000'000, 'x');
  std::size_t sent = 0;
  for (std::size_t n; (n = peer->send_some(block)) != 0;) sent += n;
  CHECK(sent < 64'000'000);  // what the systems' buffers hold
  p.signal(SIGTERM);
  CHECK(p.finish().err.find("timed out") != std::string::npos);
}

TEST_CASE("socks5 resets clients for which it has no descriptor, and goes on with a line") {
  if (needs_descriptors) {
    MESSAGE("skipped: UBSan looks at objects through a pipe, and finds fault without one");
    return;
  }
  program p({"/bin/sh", "-c", "ulimit -n 24; exec $0 127.0.0.1:0", socks5});
  const std::uint16_t proxy = port_of(p);
  std::vector<std::unique_ptr<tcp_client>> clients;
  const auto is_served = [&] {
    clients.push_back(std::make_unique<tcp_client>(proxy));
    if (clients.back()->send_some(hello) == 0) return false;
    return clients.back()->read(2) == "\5\0"s;
  };
  while (is_served()) REQUIRE(clients.size() < 24);
  CHECK(clients.size() > 5);
  clients.clear();
  while (!is_served()) continue;  // once the proxy has seen an end
  clients.clear();
  p.signal(SIGTERM);
  const outcome o = p.finish();
  CHECK(o.status == 0);
  CHECK(o.err.find("socks5: out of descriptors: reset ") != std::string::npos);
}

TEST_CASE("socks5 says what is wrong with its arguments") {
  CHECK(run({socks5, "--help"}).out.starts_with("usage: socks5 "));
  struct row {
    std::vector<std::string> arguments;
    std::string error;
  };
  for (const row& r : {
           row{{"-t", "0"}, "socks5: \"0\" is not a number from 1 on\n"},
           row{{"-n", "many"}, "socks5: \"many\" is not a number from 1 on\n"},
           row{{"-n"}, "socks5: bad option -n; see socks5 --help\n"},
           row{{"-x"}, "socks5: bad option -x; see socks5 --help\n"},
           row{{"::1:80"},
               "socks5: ::1:80: an IPv6 address with a port stands in brackets, as in [::1]:80\n"},
       }) {
    CAPTURE(r.error);
    std::vector<std::string> command{socks5};
    command.insert(command.end(), r.arguments.begin(), r.arguments.end());
    const outcome o = run(command);
    CHECK(o.status == 2);
    CHECK(o.err == r.error);
  }
}
