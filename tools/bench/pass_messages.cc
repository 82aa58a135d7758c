#include <array>
#include <vector>

#include "benchmark.h"
#include "kedge/mach/port_set.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send.h"
#include "kedge/runtime/when_all.h"

namespace mach = kedge::mach;

namespace {

constexpr mach_msg_id_t number_id = 1;
using payload = std::array<std::uint64_t, 5>;
static_assert(sizeof(mach_msg_header_t) + sizeof(payload) == 64);

// Two tasks exchange messages, so that each one finds its receiver waiting. `mine` is a receive
// right or a set, and next() the destination of the next message.
template <class From, class Next>
kedge::task<> throw_and_catch(const From& mine, Next next, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    kedge::result<void, mach::send_failure> sent =
        co_await mach::send(next(), mach::message(number_id, payload{i}));
    sent.value();
    kedge::result<mach::received> got = co_await mine.receive();
    got.value();
  }
}
template <class From, class Next>
kedge::task<> catch_and_throw(const From& mine, Next next, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    kedge::result<mach::received> got = co_await mine.receive();
    got.value();
    kedge::result<void, mach::send_failure> sent =
        co_await mach::send(next(), mach::message(number_id, payload{i}));
    sent.value();
  }
}

auto always(const mach::send_right& to) {
  return [&to]() -> const mach::send_right& { return to; };
}
auto each_in_turn(const std::vector<mach::send_right>& to) {
  return [&to, i = std::size_t{0}]() mutable -> const mach::send_right& {
    if (i == to.size()) i = 0;
    return to[i++];
  };
}

// A set of ports with tags, and a right to each of them.
struct tagged_ports {
  explicit tagged_ports(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      ports.push_back(mach::receive_right::make());
      to.push_back(ports.back().make_send());
      set.insert(ports.back(), i + 1);
    }
  }
  mach::port_set set = mach::port_set::make();
  std::vector<mach::receive_right> ports;
  std::vector<mach::send_right> to;
};

kedge::task<> fan_in(std::size_t ports, std::uint64_t n) {
  const tagged_ports a(ports), b(ports);
  co_await kedge::when_all(throw_and_catch(a.set, each_in_turn(b.to), n / 2),
                           catch_and_throw(b.set, each_in_turn(a.to), n / 2));
}

}  // namespace

kedge::task<> pass_messages(kedge::loop&, std::uint64_t n) {
  const auto a = mach::receive_right::make();
  const auto b = mach::receive_right::make();
  const mach::send_right to_a = a.make_send();
  const mach::send_right to_b = b.make_send();
  co_await kedge::when_all(throw_and_catch(a, always(to_b), n / 2),
                           catch_and_throw(b, always(to_a), n / 2));
}

kedge::task<> fan_in_one(kedge::loop&, std::uint64_t n) {
  co_await fan_in(1, n);
}
kedge::task<> fan_in_many(kedge::loop&, std::uint64_t n) {
  co_await fan_in(1000, n);
}
