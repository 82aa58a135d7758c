// daemon: tells its clients on a Unix socket what is in a file: `daemon SOCKET FILE`.
//
// Answers each request with the text of the file. Serves at most 100 clients at a time. SIGHUP
// reads the file again. On SIGTERM and SIGINT it takes no more clients, leaves those that it has 30
// seconds to hang up, and exits with 0.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include "kedge/runtime/runtime.h"

kedge::descriptor listen_at(kedge::loop& loop, const std::string& path) {
  kedge::descriptor socket(loop, ::socket(AF_UNIX, SOCK_STREAM, 0), kedge::ownership::owned);
  const int fd = socket.native_handle();
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const auto fail = [&](int e) { throw std::system_error(e, std::system_category(), path); };
  if (path.size() >= sizeof(name.sun_path)) fail(ENAMETOOLONG);
  path.copy(name.sun_path, path.size());
  ::unlink(path.c_str());
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) fail(errno);
  if (::listen(fd, 128) != 0 || ::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail(errno);
  return socket;
}

kedge::task<> serve(kedge::descriptor client, const std::string& text) {
  std::byte request[4096];
  while (co_await client.read_some(request)) {
    const std::string answer = text;  // whole, also if the text changes now
    for (std::size_t sent = 0; sent < answer.size();)
      sent += (co_await client.write_some(std::as_bytes(std::span(answer).subspan(sent)))).value();
  }
}

kedge::task<> take_clients(kedge::scope& s, kedge::descriptor socket, const std::string& text) {
  const auto report = [](std::exception_ptr) { std::fputs("daemon: lost a client\n", stderr); };
  while (co_await s.room() && co_await socket.readable()) {
    const int fd = ::accept(socket.native_handle(), nullptr, nullptr);
    if (fd < 0) co_await kedge::sleep_for(std::chrono::milliseconds(100));  // no fd may be free
    if (fd < 0) continue;
    kedge::descriptor client(*kedge::loop::current(), fd, kedge::ownership::owned);
    s.spawn(kedge::handled(serve, report), std::move(client), std::cref(text));
  }
}

kedge::task<> run(kedge::loop& loop, const char* path, const char* file) {
  std::string text;
  kedge::signal_set reload(loop, {SIGHUP}), stop(loop, {SIGTERM, SIGINT});
  const auto body = [&](kedge::scope& s) -> kedge::task<> {
    s.set_limit(100);
    s.spawn(kedge::background([&]() -> kedge::task<> {
      for (;; (co_await reload.next()).value()) {
        std::getline(std::ifstream(file), text, '\0');
        std::puts("ready");
      }
    }));
    (void)co_await kedge::when_any(stop.next(), take_clients(s, listen_at(loop, path), text));
    s.drain(std::chrono::seconds(30));
    std::puts("drains");
  };
  co_await kedge::with_scope(body);  // ends when all clients have hung up
}

int main(int argc, char** argv) try {
  if (argc != 3) return std::fputs("usage: daemon SOCKET FILE\n", stderr), 2;
  ::signal(SIGPIPE, SIG_IGN);  // a client that has gone does not end the others
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  kedge::loop loop;
  loop.run(run(loop, argv[1], argv[2]));
} catch (const std::exception& e) {
  return std::fprintf(stderr, "daemon: %s\n", e.what()), 1;
}
