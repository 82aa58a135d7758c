// echo_to_clients(), accept_from_clients(): drive a server of one thread and its clients in turn.
//
// A Server has port(), turn(), which does what is due and may block, and `counts`. It echoes what
// it reads, and ends a connection that the client has closed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu_time.h"
#include "tcp_clients.h"

struct server_counts {
  std::uint64_t accepted = 0;
  std::uint64_t echoed = 0;  // in bytes
  std::uint64_t ended = 0;
};

template <class Server>
void drive_until(Server& server, const std::uint64_t& count, std::uint64_t wanted) {
  const measured_section all;
  while (count < wanted) server.turn();
}

// Connects so many at once as any backlog has room for.
template <class Server>
void connect_all(Server& server, tcp_clients& clients, std::uint64_t count) {
  for (std::uint64_t left = count; left != 0;) {
    const std::uint64_t some = std::min<std::uint64_t>(left, 64);
    clients.connect(server.port(), static_cast<std::size_t>(some));
    left -= some;
    while (server.counts.accepted < count - left) server.turn();
  }
}

// Each connection has one message of `size` bytes under way.
template <class Server, std::size_t connections, std::size_t size>
void echo_to_clients(std::uint64_t n) {
  Server server;
  tcp_clients clients(size);
  connect_all(server, clients, connections);
  for (std::uint64_t asked = 0; asked < n;) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(connections, n - asked));
    clients.ask(count);
    asked += count;
    drive_until(server, server.counts.echoed, asked * size);
    clients.take_answers(count);
  }
}

// Connections of one message of 64 bytes, 64 at a time.
template <class Server>
void accept_from_clients(std::uint64_t n) {
  Server server;
  tcp_clients clients(64);
  for (std::uint64_t ended = 0; ended < n;) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(64, n - ended));
    clients.connect(server.port(), count);
    clients.ask(count);
    ended += count;
    drive_until(server, server.counts.echoed, ended * 64);
    clients.take_answers(count);
    clients.close();
    drive_until(server, server.counts.ended, ended);
  }
}
