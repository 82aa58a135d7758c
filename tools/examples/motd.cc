// motd: tells each client on a Unix socket the message of the day: `motd FILE [ADDRESS]`.
//
//     motd /etc/motd unix:/tmp/motd.sock &  nc -U /tmp/motd.sock
//     systemd-socket-activate -l /tmp/motd.sock --fdname=motd motd /etc/motd
//
// SIGHUP reads the file again; one that cannot be read leaves the message as it was. SIGTERM ends
// the daemon when its clients have their message. motd.socket and motd.service are its units for
// systemd, org.kedge.motd.plist is its property list for launchd.
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "kedge/net/daemon.h"
#include "kedge/net/serve.h"
#include "kedge/net/write_all.h"
#include "kedge/runtime/with_timeout.h"

namespace net = kedge::net;

std::string read_file(const char* path) {
  std::ifstream in(path);
  if (!in) throw std::system_error(errno, std::system_category(), path);
  return {std::istreambuf_iterator<char>(in), {}};
}

kedge::task<> keep(net::daemon& d, const char* path, net::address otherwise) {
  std::string text = read_file(path);
  const auto reload = [&]() -> kedge::task<> {
    text = read_file(path);
    co_await d.status("read " + std::to_string(text.size()) + " bytes");
  };
  const auto tell = [&](net::unix_stream client) -> kedge::task<> {
    const std::string now = text;  // whole, also if the text changes during the write
    const auto bytes = std::as_bytes(std::span(now));
    (co_await kedge::with_timeout(std::chrono::seconds(5), net::write_all(client, bytes))).value();
  };
  net::unix_listener clients = d.listen_unix("motd", otherwise);
  co_await d.run(net::serve(clients, tell), reload);
}

int main(int argc, char** argv) {
  constexpr const char* usage = "usage: motd FILE [unix:PATH]\n";
  if (argc == 2 && argv[1] == std::string_view("--help")) return std::fputs(usage, stdout), 0;
  if (argc < 2 || argc > 3) return std::fputs(usage, stderr), 2;
  const auto at = argc == 3 ? net::address::parse(argv[2]) : net::address();
  if (!at) return std::fprintf(stderr, "motd: %s: %s\n", argv[2], at.error().message().c_str()), 2;
  kedge::loop loop;
  return net::run_daemon(loop, "motd", [&](net::daemon& d) { return keep(d, argv[1], *at); });
}
