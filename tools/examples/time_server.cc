// time_server: answers each UDP datagram with the time, until Ctrl-C.
//
//     time_server 127.0.0.1:3700
//     echo | nc -u -w1 127.0.0.1 3700
//
// One wait takes up to 32 questions, so a busy server asks the system once for many. What the
// network says of one client (its port is closed) ends nothing. Exits with 130 on Ctrl-C.
#include <signal.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "kedge/net/udp_socket.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_signals.h"

// The time in RFC 3339, such as 2000-01-01T00:00:00Z, and a line end.
std::string time_text() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 32> text;
  return {text.data(), std::strftime(text.data(), text.size(), "%FT%TZ\n", &utc)};
}

kedge::task<int> serve(kedge::net::udp_socket socket) {
  std::array<std::array<std::byte, 1>, 32> rooms;  // what a question says is of no account
  std::array<kedge::net::datagram_slot, rooms.size()> slots;
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i].room = rooms[i];
  for (;;) {
    const std::size_t questions = (co_await socket.receive(slots)).value();
    const std::string text = time_text();
    for (const auto& slot : std::span(slots).first(questions)) {
      const auto sent = co_await socket.send_to(std::as_bytes(std::span(text)), slot.got.from);
      if (!sent) std::fprintf(stderr, "time_server: %s\n", sent.error().message().c_str());
    }
  }
}

int main(int argc, char** argv) {
  try {
    const auto at = kedge::net::address::parse(argc == 2 ? argv[1] : ":3700").value();
    kedge::loop loop;
    kedge::net::udp_socket socket(loop, at);
    std::printf("time_server: at %s\n", socket.local_address().value().text().c_str());
    std::fflush(stdout);
    return loop.run(kedge::with_signals({SIGINT, SIGTERM}, serve(std::move(socket))));
  } catch (const std::system_error& e) {
    std::fprintf(stderr, "time_server: %s\n", e.what());
    return 1;
  }
}
