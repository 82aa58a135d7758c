#include <array>
#include <cstddef>
#include <vector>

#include "benchmark.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/serve.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/when_all.h"

namespace mach = kedge::mach;

namespace {

using payload = std::array<std::uint64_t, 8>;

struct open {
  static constexpr mach_msg_id_t id = 1;
  struct reply {
    mach::send_right connection;
  };
};
struct question {
  static constexpr mach_msg_id_t id = 2;
  payload numbers;
  struct reply {
    payload numbers;
  };
};
struct client_state {
  std::uint64_t asked = 0;
};

// Each client has a connection, and asks in turn.
kedge::task<> ask(const mach::send_right& service, mach::serve_control& control,
                  std::size_t clients, std::uint64_t n) {
  std::vector<mach::send_right> connections;
  for (std::size_t i = 0; i < clients; ++i) {
    auto opened = co_await mach::call<open>(service);
    connections.push_back(std::move(opened).value().connection);
  }
  for (std::uint64_t i = 0; i < n; ++i) {
    (co_await mach::call<question>(connections[i % clients], payload{i})).value();
  }
  control.stop();
}

kedge::task<> serve_clients(std::size_t clients, std::uint64_t n) {
  const auto port = mach::receive_right::make();
  const mach::send_right service = port.make_send();
  mach::serve_control control;
  const auto admit = [](open&, mach::client& c) { return open::reply{c.open<client_state>()}; };
  const auto answer = [](question& q, client_state& s) {
    ++s.asked;
    return question::reply{q.numbers};
  };
  const mach::serve_options options{
      .peers = mach::same_user(), .most_connections = clients, .control = &control};
  auto served = mach::serve(port, options, admit, answer);
  co_await kedge::when_all(std::move(served), ask(service, control, clients, n));
}

}  // namespace

kedge::task<> serve_one_client(kedge::loop&, std::uint64_t n) {
  return serve_clients(1, n);
}
kedge::task<> serve_many_clients(kedge::loop&, std::uint64_t n) {
  return serve_clients(1000, n);
}
