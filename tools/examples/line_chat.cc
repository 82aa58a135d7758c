// line_chat: passes each line of a client on to all the others: `line_chat unix:/tmp/chat`.
//
//     line_chat 127.0.0.1:7000 &  nc 127.0.0.1 7000
//
// A line has at most 1,000 bytes. A client that does not read its lines fast enough loses those
// that exceed the 100 that are kept for it, and slows nobody down.
#include <cstdio>
#include <list>
#include <string>
#include <string_view>

#include "kedge/net/any_stream.h"
#include "kedge/net/reader.h"
#include "kedge/net/serve.h"
#include "kedge/net/tcp_listener.h"
#include "kedge/net/unix_listener.h"
#include "kedge/net/write_all.h"
#include "kedge/runtime/channel.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"

namespace net = kedge::net;

struct room {
  // A client's lines that it has not read yet. It is in the list while it is connected.
  class member {
   public:
    explicit member(room& r) : room_(r), at_(r.members.emplace(r.members.end(), 100)) {}
    member(const member&) = delete;
    member& operator=(const member&) = delete;
    ~member() { room_.members.erase(at_); }

    kedge::channel<std::string>& lines() { return *at_; }
    void tell_others(const std::string& line) {
      for (auto& other : room_.members) {
        if (&other != &lines()) (void)other.try_send(line);
      }
    }

   private:
    room& room_;
    std::list<kedge::channel<std::string>>::iterator at_;
  };
  std::list<kedge::channel<std::string>> members;
};

kedge::task<> listen_to(net::any_stream& client, room::member& self) {
  net::reader in(client);
  while (const auto line = co_await in.line(1000)) self.tell_others(std::string(*line) + "\n");
}

kedge::task<> talk_to(net::any_stream& client, room::member& self) {
  while (const auto line = co_await self.lines().receive()) {
    (co_await net::write_all(client, std::as_bytes(std::span(*line)))).value();
  }
}

kedge::task<> join(room& all, net::any_stream client) {
  room::member self(all);
  (void)self.lines().try_send("welcome\n");
  (void)co_await kedge::when_any(listen_to(client, self), talk_to(client, self));
}

template <class Listener>
kedge::task<> chat(Listener listener) {
  room all;
  std::printf("listens on %s\n", listener.local_address().text().c_str());
  std::fflush(stdout);
  const auto joins = [&](auto client) { return join(all, net::any_stream(std::move(client))); };
  (void)co_await net::serve(listener, joins);
}

int main(int argc, char** argv) try {
  if (argc != 2) return std::fputs("usage: line_chat ADDRESS\n", stderr), 2;
  const net::address at = net::address::parse(argv[1]).value();
  kedge::loop loop;
  loop.run(at.is_unix() ? chat(net::unix_listener(loop, at)) : chat(net::tcp_listener(loop, at)));
} catch (const std::exception& e) {
  return std::fprintf(stderr, "line_chat: %s\n", e.what()), 1;
}
