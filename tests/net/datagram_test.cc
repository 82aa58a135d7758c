// udp_socket and unix_datagram_socket: datagrams, groups, and errors of the network.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/net/udp_socket.h"
#include "kedge/net/unix_datagram_socket.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/select.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_timeout.h"
#include "tests/runtime/drain.h"
#include "tests/temporary_folder.h"
#include "text.h"

namespace kedge::net {
namespace {

using namespace std::chrono_literals;

address parse(std::string_view text) {
  return address::parse(text).value();
}
const address any_port = parse("127.0.0.1:0");

struct received {
  std::string text;
  bool is_truncated = false;
  address from;
  std::error_code error;
  bool has_ended = false;
};
task<> receive_once(datagram_socket& s, received& out, std::size_t most = 100) {
  std::vector<std::byte> room(most);
  const auto got = co_await s.receive(room);
  out.has_ended = true;
  if (!got) {
    out.error = got.error();
    co_return;
  }
  out.text = text_of(std::span(room).first(got->size));
  out.is_truncated = got->is_truncated;
  out.from = got->from;
}
received receive(loop& l, datagram_socket& s, std::size_t most = 100) {
  received out;
  l.run(receive_once(s, out, most));
  return out;
}
template <class Socket>
bool send_to(loop& l, Socket& s, std::string_view text, const address& to) {
  return l.run(s.send_to(bytes_of(text), to)).has_value();
}

std::string loopback_interface() {
  ifaddrs* all = nullptr;
  REQUIRE(::getifaddrs(&all) == 0);
  std::string name;
  for (const ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
    if ((each->ifa_flags & IFF_LOOPBACK) != 0) name = each->ifa_name;
  }
  ::freeifaddrs(all);
  REQUIRE_FALSE(name.empty());
  return name;
}

TEST_CASE("UDP sockets send to each other, and a receiver learns the sender") {
  loop l;
  udp_socket a(l, any_port), b(l, any_port);
  const address at = b.local_address().value();
  CHECK(send_to(l, a, "one", at));
  CHECK(send_to(l, a, "two", at));
  const received first = receive(l, b);
  CHECK(first.text == "one");
  const bool is_from_a = first.from == a.local_address().value();
  CHECK(is_from_a);
  CHECK(send_to(l, b, "answer", first.from));
  CHECK(receive(l, b).text == "two");
  CHECK(receive(l, a).text == "answer");
}

TEST_CASE("a receive waits for a datagram") {
  loop l;
  udp_socket a(l, any_port), b(l, any_port);
  received got;
  l.spawn(receive_once, std::ref(b), std::ref(got), std::size_t{100});
  settle(l);
  CHECK_FALSE(got.has_ended);
  CHECK(send_to(l, a, "x", b.local_address().value()));
  drain(l);
  CHECK(got.text == "x");
}

TEST_CASE("an empty datagram is a datagram") {
  loop l;
  udp_socket a(l, any_port), b(l, any_port);
  CHECK(send_to(l, a, "", b.local_address().value()));
  CHECK(send_to(l, a, "x", b.local_address().value()));
  const received empty = receive(l, b);
  CHECK_FALSE(static_cast<bool>(empty.error));
  CHECK(empty.text == "");
  CHECK_FALSE(empty.is_truncated);
  CHECK(receive(l, b).text == "x");
}

TEST_CASE("a datagram that is larger than its room is cut off, and the receiver learns that") {
  loop l;
  udp_socket a(l, any_port), b(l, any_port);
  CHECK(send_to(l, a, "0123456789", b.local_address().value()));
  CHECK(send_to(l, a, "0123", b.local_address().value()));
  const received cut = receive(l, b, 4);
  CHECK(cut.text == "0123");
  CHECK(cut.is_truncated);
  const received whole = receive(l, b, 4);
  CHECK(whole.text == "0123");
  CHECK_FALSE(whole.is_truncated);
  CHECK(send_to(l, a, "x", b.local_address().value()));
  CHECK(receive(l, b, 0).is_truncated);
}

TEST_CASE("one receive takes all datagrams that are there, and as many as there are slots") {
  loop l;
  udp_socket a(l, any_port), b(l, any_port);
  std::array<std::array<std::byte, 4>, 3> rooms;
  std::array<datagram_slot, 3> slots;
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i].room = rooms[i];
  for (const char* text : {"one", "", "three", "four"}) {
    CHECK(send_to(l, a, text, b.local_address().value()));
  }
  CHECK(*l.run(b.receive(slots)) == 3);
  CHECK(text_of(slots[0].bytes()) == "one");
  CHECK(text_of(slots[1].bytes()) == "");
  CHECK(text_of(slots[2].bytes()) == "thre");
  CHECK(slots[2].got.is_truncated);
  const bool is_from_a = slots[2].got.from == a.local_address().value();
  CHECK(is_from_a);
  CHECK(*l.run(b.receive(slots)) == 1);
  CHECK(text_of(slots[0].bytes()) == "four");
  CHECK(*l.run(b.receive(std::span<datagram_slot>())) == 0);
  std::size_t later = 0;
  l.spawn([&]() -> task<> { later = (co_await b.receive(slots)).value_or(0); });
  settle(l);
  CHECK(later == 0);
  CHECK(send_to(l, a, "x", b.local_address().value()));
  drain(l);
  CHECK(later == 1);
}

TEST_CASE("a receive without slots ends at once, also on an idle socket that has been waited for") {
  virtual_time time;
  loop l(time);
  udp_socket b(l, any_port);
  std::array<std::byte, 4> room;
  CHECK(l.run(with_timeout(1s, b.receive(room))).error() == kedge::errc::timed_out);
  std::size_t count = 9;
  l.spawn(
      [&]() -> task<> { count = (co_await b.receive(std::span<datagram_slot>())).value_or(8); });
  settle(l);
  CHECK(count == 0);
  b.close();
  CHECK(l.run(b.receive(std::span<datagram_slot>())).error() == kedge::errc::closed);
}

TEST_CASE("a connected UDP socket gives the errors of its peer, and receives from it alone") {
  loop l;
  udp_socket client(l, any_port), server(l, any_port), stranger(l, any_port);
  CHECK(client.connect(server.local_address().value()).has_value());
  const bool is_peer = client.peer_address().value() == server.local_address().value();
  CHECK(is_peer);
  CHECK(send_to(l, stranger, "stray", client.local_address().value()));
  CHECK(l.run(client.send(bytes_of("question"))).has_value());
  CHECK(receive(l, server).text == "question");
  CHECK(send_to(l, server, "answer", client.local_address().value()));
  CHECK(receive(l, client).text == "answer");
  server.close();
  CHECK(l.run(client.send(bytes_of("lost"))).has_value());
  CHECK(receive(l, client).error == std::errc::connection_refused);
  CHECK(l.run(client.send(bytes_of("lost"))).has_value());
  std::array<datagram_slot, 1> slots;
  CHECK(l.run(client.receive(slots)).error() == std::errc::connection_refused);
}

TEST_CASE("a receive that waits when its socket is connected gives the errors of the peer") {
  loop l;
  udp_socket client(l, any_port), server(l, any_port);
  const address dead = server.local_address().value();
  server.close();
  received one;
  l.spawn(receive_once(client, one));
  settle(l);
  CHECK(client.connect(dead).has_value());
  CHECK(l.run(client.send(bytes_of("lost"))).has_value());
  drain(l);
  CHECK(one.error == std::errc::connection_refused);
}

#ifdef IP_RECVERR
TEST_CASE("a server's receive and send pass over what the network says of other datagrams") {
  loop l;
  udp_socket server(l, any_port), client(l, any_port);
  const address nowhere =
      udp_socket(l, any_port).local_address().value();  // nothing is bound there
  // The system then reports to unconnected sockets what others keep from them.
  const int on = 1;
  REQUIRE(::setsockopt(server.native_handle(), IPPROTO_IP, IP_RECVERR, &on, sizeof(on)) == 0);
  CHECK(send_to(l, server, "lost", nowhere));
  received got;
  l.spawn(receive_once, std::ref(server), std::ref(got), std::size_t{100});
  settle(l);
  CHECK_FALSE(got.has_ended);
  CHECK(send_to(l, client, "question", server.local_address().value()));
  drain(l);
  CHECK(got.text == "question");
  CHECK(send_to(l, server, "lost", nowhere));
  CHECK(send_to(l, server, "answer", client.local_address().value()));
  CHECK(receive(l, client).text == "answer");
}
#endif

TEST_CASE("UDP over IPv6 receives from IPv4 too, unless it is told not to") {
  loop l;
  std::optional<udp_socket> six(std::in_place, l, parse(":0"));
  if (six->local_address().value().family() == AF_INET) {
    MESSAGE("this host has no IPv6");
    CHECK(six->join(parse("239.255.77.7:0"), loopback_interface()).has_value());
    CHECK(six->set_multicast_loop(true).has_value());
    CHECK_THROWS_AS(udp_socket(l, parse(":0"), {.v6_only = true}), std::system_error);
    return;
  }
  const std::uint16_t port = six->local_address().value().port();
  udp_socket four(l, any_port);
  CHECK(send_to(l, four, "four", any_port.with_port(port)));
  const received got = receive(l, *six);
  CHECK(got.text == "four");
  CHECK(send_to(l, *six, "answer", got.from));
  CHECK(receive(l, four).text == "answer");
  udp_socket only(l, parse(":0"), {.v6_only = true});
  const std::uint16_t taken = only.local_address().value().port();
  udp_socket beside(l, parse("0.0.0.0:0").with_port(taken));
  CHECK(beside.local_address().value().port() == taken);
}

TEST_CASE("members of a group receive what is sent to it, until they leave") {
  loop l;
  const std::string lo = loopback_interface();
  const address group = parse("239.255.77.7:0");
  const address all = parse("0.0.0.0:0");
  udp_socket first(l, all, {.shares_port = true});
  const std::uint16_t port = first.local_address().value().port();
  udp_socket second(l, all.with_port(port), {.shares_port = true});
  REQUIRE(first.join(group, lo).has_value());
  REQUIRE(second.join(group, lo).has_value());
  CHECK(first.join(group, lo).error() == std::errc::address_in_use);
  udp_socket sender(l, any_port);
  REQUIRE(sender.set_multicast_interface(lo).has_value());
  CHECK(sender.set_multicast_loop(true).has_value());
  CHECK(sender.set_multicast_hops(2).has_value());
  CHECK(sender.set_multicast_hops(256).error() == std::errc::invalid_argument);
  CHECK(send_to(l, sender, "all", group.with_port(port)));
  CHECK(receive(l, first).text == "all");
  CHECK(receive(l, second).text == "all");
  CHECK(second.leave(group, lo).has_value());
  CHECK(second.leave(group, lo).error() == std::errc::address_not_available);
  CHECK(send_to(l, sender, "rest", group.with_port(port)));
  CHECK(receive(l, first).text == "rest");
}

TEST_CASE("a group of IPv6 is joined by the name of an interface") {
  loop l;
  const std::string lo = loopback_interface();
  const address group = parse("[ff01::7:77]:0");
  std::optional<udp_socket> member, sender;
  try {
    member.emplace(l, parse("[::]:0"));
    sender.emplace(l, parse("[::1]:0"));
  } catch (const std::system_error& e) {
    MESSAGE("this host has no IPv6");
    return;
  }
  REQUIRE(member->join(group, lo).has_value());
  REQUIRE(sender->set_multicast_interface(lo).has_value());
  CHECK(sender->set_multicast_loop(true).has_value());
  CHECK(sender->set_multicast_hops(1).has_value());
  const address to = group.with_port(member->local_address().value().port());
  if (const auto sent = l.run(sender->send_to(bytes_of("six"), to)); sent) {
    CHECK(receive(l, *member).text == "six");
  } else {
    CHECK(sent.error() == std::errc::network_unreachable);  // Linux, without a route to groups
  }
  CHECK(member->leave(group, lo).has_value());
}

TEST_CASE("a missing interface, and an address that is not a group's, are clear errors") {
  loop l;
  udp_socket s(l, parse("0.0.0.0:0"));
  const address group = parse("239.255.77.7:0");
  CHECK(s.join(group, "no such one").error() == errc::no_interface);
  CHECK(s.join(group, "a name that is longer than any").error() == errc::no_interface);
  CHECK(s.leave(group, "none").error() == errc::no_interface);
  CHECK(s.join(group, loopback_interface() + std::string("\0x", 2)).error() == errc::no_interface);
  CHECK(s.set_multicast_interface("none").error() == errc::no_interface);
  CHECK(s.join(parse("127.0.0.1:0"), loopback_interface()).error() == std::errc::invalid_argument);
}

TEST_CASE("a broadcast is refused until it is allowed") {
  loop l;
  udp_socket s(l, parse("0.0.0.0:0"));
  const address everybody = parse("255.255.255.255:9");
  CHECK(l.run(s.send_to({}, everybody)).error() == std::errc::permission_denied);
  CHECK(s.set_broadcast(true).has_value());
  const auto sent = l.run(s.send_to({}, everybody));
  CHECK((sent.has_value() || sent.error() != std::errc::permission_denied));
}

TEST_CASE("binding names the address, and refuses one of another family or in use") {
  loop l;
  udp_socket s(l, any_port);
  const address at = s.local_address().value();
  CHECK_THROWS_WITH(udp_socket(l, at), doctest::Contains(("bind to " + at.text()).c_str()));
  CHECK_THROWS_WITH(udp_socket(l, parse("unix:/x")), doctest::Contains("bind to unix:/x"));
  CHECK_THROWS_WITH(unix_datagram_socket(l, at), doctest::Contains("bind to "));
}

TEST_CASE("a datagram that is too large gives EMSGSIZE, and one without a peer an error") {
  loop l;
  udp_socket s(l, any_port);
  CHECK(s.set_send_buffer(1 << 20).has_value());
  CHECK(s.set_receive_buffer(1 << 20).has_value());
  const std::string large(70'000, 'x');
  CHECK(l.run(s.send_to(bytes_of(large), any_port.with_port(9))).error() ==
        std::errc::message_size);
  CHECK_FALSE(l.run(s.send(bytes_of("x"))).has_value());
}

TEST_CASE("a closed datagram socket gives errc::closed, and ends its waits with it") {
  loop l;
  std::optional<udp_socket> s(std::in_place, l, any_port);
  received got;
  l.spawn(receive_once, std::ref(*s), std::ref(got), std::size_t{100});
  settle(l);
  CHECK(receive(l, *s).error == kedge::errc::already_awaited);
  std::array<datagram_slot, 1> slots;
  auto older = s->receive(slots);
  s.reset();
  settle(l);
  CHECK(got.error == kedge::errc::closed);
  CHECK(l.run(std::move(older)).error() == kedge::errc::closed);
  udp_socket none;
  CHECK(none.native_handle() == -1);
  CHECK_FALSE(static_cast<bool>(none));
  CHECK(receive(l, none).error == kedge::errc::closed);
  CHECK(l.run(none.send({})).error() == kedge::errc::closed);
  unix_datagram_socket no_unix;
  CHECK(l.run(no_unix.send({})).error() == kedge::errc::closed);
  CHECK(none.connect(any_port).error() == kedge::errc::closed);
  CHECK(none.local_address().error() == kedge::errc::closed);
  CHECK(none.peer_address().error() == kedge::errc::closed);
  CHECK(none.join(parse("239.255.77.7:0")).error() == kedge::errc::closed);
  CHECK(none.set_multicast_hops(1).error() == kedge::errc::closed);
  CHECK(none.set_multicast_interface("").error() == kedge::errc::closed);
  CHECK(none.set_broadcast(true).error() == kedge::errc::closed);
}

TEST_CASE("a receive that is cancelled or destroyed loses no datagram") {
  std::optional<loop> l(std::in_place);
  loop other;
  udp_socket a(other, any_port), b(other, any_port);
  udp_socket on_l(*l, any_port);
  received got;
  l->spawn(receive_once, std::ref(on_l), std::ref(got), std::size_t{100});
  settle(*l);
  SUBCASE("cancelled as it waits") {
    l->cancel();
    settle(*l);
    CHECK_FALSE(got.has_ended);
    CHECK(send_to(other, a, "x", on_l.local_address().value()));
    std::array<std::byte, 4> room;
    CHECK(::recv(on_l.native_handle(), room.data(), room.size(), 0) == 1);
  }
  SUBCASE("destroyed with a datagram at the socket") {
    CHECK(send_to(other, a, "x", on_l.local_address().value()));
    l.reset();
    CHECK_FALSE(got.has_ended);
    std::array<std::byte, 4> room;
    CHECK(::recv(on_l.native_handle(), room.data(), room.size(), 0) == 1);
  }
}

TEST_CASE("select receives from whichever socket has a datagram") {
  loop l;
  udp_socket a(l, any_port), b(l, any_port), sender(l, any_port);
  std::array<std::byte, 8> room;
  std::size_t from = 9;
  l.spawn([&]() -> task<> {
    const auto got = co_await select(a.receive(room), b.receive(room));
    from = got.index();
  });
  settle(l);
  CHECK(send_to(l, sender, "x", b.local_address().value()));
  drain(l);
  CHECK(from == 1);
}

// --- Unix sockets --------------------------------------------------------------------------------

TEST_CASE("Unix datagrams go to a path, and are answered at the sender's") {
  loop l;
  temporary_folder folder("/tmp");
  const address at = address::unix_path(folder / "server").value();
  const address back = address::unix_path(folder / "client").value();
  unix_datagram_socket server(l, at), client(l, back), nameless(l);
  CHECK(send_to(l, client, "question", at));
  CHECK(send_to(l, nameless, "", at));
  const received got = receive(l, server);
  CHECK(got.text == "question");
  const bool is_from_client = got.from == back;
  CHECK(is_from_client);
  CHECK(send_to(l, server, "answer", got.from));
  CHECK(receive(l, client).text == "answer");
  const received empty = receive(l, server);
  CHECK(empty.text == "");
  CHECK_FALSE(static_cast<bool>(empty.error));
  CHECK_FALSE(static_cast<bool>(empty.from));
  CHECK_THROWS_WITH(unix_datagram_socket(l, at), doctest::Contains(at.text().c_str()));
  const address nowhere = address::unix_path(folder / "none").value();
  CHECK_FALSE(send_to(l, client, "x", nowhere));
}

task<result<void>> send_numbers(unix_datagram_socket& s, const address* to, int& sent) {
  for (; sent < 1000; ++sent) {
    const std::string text = std::to_string(sent);
    result<void> end;
    if (to == nullptr) end = co_await s.send(bytes_of(text));
    if (to != nullptr) end = co_await s.send_to(bytes_of(text), *to);
    if (!end) co_return end;
  }
  co_return result<void>();
}

TEST_CASE("a sender waits while the queue of a Unix receiver is full, and no datagram is lost") {
  for (const bool is_connected : {true, false}) {
    CAPTURE(is_connected);
    virtual_time time;
    loop l(time);
    temporary_folder folder("/tmp");
    const address at = address::unix_path(folder / "server").value();
    unix_datagram_socket server(l, at), client(l);
    if (is_connected) REQUIRE(client.connect(at).has_value());
    int sent = 0;
    l.spawn([&]() -> task<> {
      const auto end = co_await send_numbers(client, is_connected ? nullptr : &at, sent);
      CHECK(end.has_value());
    });
    settle(l);
    CHECK(sent > 0);
    CHECK(sent < 1000);
    l.spawn([&]() -> task<> {
      for (int i = 0; i < 1000; ++i) {
        received got;
        co_await receive_once(server, got);
        CHECK(got.text == std::to_string(i));
      }
    });
    CHECK(time.run() == 0);
    CHECK(sent == 1000);
  }
}

TEST_CASE("closing a Unix socket ends its send to a full queue, at the next try") {
  virtual_time time;
  loop l(time);
  temporary_folder folder("/tmp");
  const address at = address::unix_path(folder / "server").value();
  unix_datagram_socket server(l, at);
  std::optional<unix_datagram_socket> client(std::in_place, l);
  int sent = 0;
  std::error_code end;
  l.spawn([&]() -> task<> { end = (co_await send_numbers(*client, &at, sent)).error(); });
  settle(l);
  SUBCASE("closed") {
    client->close();
  }
  SUBCASE("dropped") {
    client.reset();
  }
  SUBCASE("replaced") {
    *client = unix_datagram_socket(l);
  }
  CHECK(time.run() == 0);
  CHECK(end == kedge::errc::closed);
}

TEST_CASE("a pair of Unix datagram sockets is connected") {
  loop l;
  auto [a, b] = unix_datagram_socket::pair(l);
  CHECK(l.run(a.send(bytes_of("x"))).has_value());
  CHECK(l.run(a.send({})).has_value());
  CHECK(receive(l, b).text == "x");
  CHECK(receive(l, b).text == "");
  b.close();
  CHECK(l.run(a.send(bytes_of("x"))).error() == std::errc::connection_refused);
}

// Gives nothing where the system has no sockets of packets.
std::optional<std::pair<unix_datagram_socket, unix_datagram_socket>> packet_pair(loop& l) {
  try {
    return unix_datagram_socket::packet_pair(l);
  } catch (const std::system_error& e) {
    CHECK(e.code() == std::errc::protocol_not_supported);
    return std::nullopt;
  }
}

TEST_CASE("packets keep their bounds, and have an end") {
  loop l;
  auto made = packet_pair(l);
  if (!made) return;
  auto& [a, b] = *made;
  CHECK(l.run(a.send(bytes_of("one"))).has_value());
  CHECK(l.run(a.send(bytes_of("two"))).has_value());
  CHECK(receive(l, b, 2).is_truncated);
  std::array<std::byte, 8> room;
  std::array<datagram_slot, 2> slots;
  slots[0].room = slots[1].room = room;
  CHECK(*l.run(b.receive(slots)) == 1);
  CHECK(l.run(a.send(bytes_of("last"))).has_value());
  a.close();
  CHECK(*l.run(b.receive(slots)) == 1);
  CHECK(text_of(slots[0].bytes()) == "last");
  CHECK(l.run(b.receive(slots)).error() == kedge::errc::end_of_file);
  CHECK(receive(l, b).error == kedge::errc::end_of_file);
  CHECK(l.run(b.send(bytes_of("x"))).error() == std::errc::broken_pipe);
}

TEST_CASE("packets go over a connection to a path") {
  loop l;
  temporary_folder folder("/tmp");
  const address at = address::unix_path(folder / "packets").value();
  const owned_fd listener(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
  if (!listener) {
    CHECK(unix_datagram_socket::connect_packets(l, at).error() ==
          std::errc::protocol_not_supported);
    return;
  }
  CHECK(unix_datagram_socket::connect_packets(l, at).error() ==
        std::errc::no_such_file_or_directory);
  REQUIRE(::bind(listener.get(), at.data(), at.size()) == 0);
  REQUIRE(::listen(listener.get(), 1) == 0);
  auto client = unix_datagram_socket::connect_packets(l, at);
  REQUIRE(client.has_value());
  unix_datagram_socket server =
      unix_datagram_socket::adopt(l, owned_fd(::accept(listener.get(), nullptr, nullptr)));
  CHECK(l.run(client->send(bytes_of("question"))).has_value());
  CHECK(receive(l, server).text == "question");
  CHECK(l.run(server.send(bytes_of("answer"))).has_value());
  CHECK(receive(l, *client).text == "answer");
  server.close();
  CHECK(receive(l, *client).error == kedge::errc::end_of_file);
}

TEST_CASE("an empty packet is received like others, alone and in a batch, until the peer closes") {
  loop l;
  auto made = packet_pair(l);
  if (!made) return;
  auto& [a, b] = *made;
  std::array<std::array<std::byte, 8>, 4> rooms;
  std::array<datagram_slot, 4> slots;
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i].room = rooms[i];
  for (const char* text : {"four", "", "last"}) CHECK(l.run(a.send(bytes_of(text))).has_value());
  CHECK(l.run(b.receive(slots)).value_or(0) == 3);
  CHECK(text_of(slots[1].bytes()) == "");
  CHECK(text_of(slots[2].bytes()) == "last");
  CHECK(l.run(a.send({})).has_value());
  CHECK_FALSE(static_cast<bool>(receive(l, b).error));
  CHECK(l.run(a.send({})).has_value());
  CHECK(l.run(a.send(bytes_of("x"))).has_value());
  a.close();
  CHECK_FALSE(static_cast<bool>(receive(l, b).error));
  CHECK(receive(l, b).text == "x");
  CHECK(receive(l, b).error == kedge::errc::end_of_file);
  CHECK(receive(l, b, 0).error == kedge::errc::end_of_file);
}

TEST_CASE("a Unix socket from elsewhere is adopted, and another one refused") {
  loop l;
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
  unix_datagram_socket a = unix_datagram_socket::adopt(l, owned_fd(ends[0]));
  unix_datagram_socket b = unix_datagram_socket::adopt(l, owned_fd(ends[1]));
  received got;
  l.spawn(receive_once, std::ref(b), std::ref(got), std::size_t{100});
  settle(l);  // it does not block
  CHECK(l.run(a.send(bytes_of("x"))).has_value());
  drain(l);
  CHECK(got.text == "x");
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  CHECK_THROWS_AS(unix_datagram_socket::adopt(l, owned_fd(ends[0])), std::system_error);
  CHECK(::fcntl(ends[0], F_GETFD) == -1);
  ::close(ends[1]);
  CHECK_THROWS_AS(unix_datagram_socket::adopt(l, owned_fd(::dup(STDERR_FILENO))),
                  std::system_error);
}

}  // namespace
}  // namespace kedge::net
