// publish: a publisher sends news to its subscribers. One of them dies, and one is slow.
//
// Shows rights in requests, a death_watch that removes the dead, and try_send(), which drops what
// the slow have no room for: no subscriber makes the publisher wait.
#include <cstdint>
#include <cstdio>
#include <map>
#include <utility>

#include "kedge/mach/death_watch.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/serve.h"
#include "kedge/mach/text.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/yield.h"

namespace mach = kedge::mach;

struct news {
  static constexpr mach_msg_id_t id = 5201;
  mach::text<128> headline;
};
struct subscribe {
  static constexpr mach_msg_id_t id = 5200;
  mach::send_right to;
  struct reply {};
};

struct publisher {
  explicit publisher(kedge::loop& l) : deaths(l) {}

  void add(mach::send_right to) {
    if (deaths.add(to, next)) subscribers.emplace(next++, std::move(to));
  }
  kedge::task<> remove_the_dead() {
    for (;;) {
      const int number = (co_await deaths.next()).value();
      subscribers.erase(number);
      std::printf("subscriber %d is dead, %zu are left\n", number, subscribers.size());
    }
  }
  void publish(const char* headline) {
    for (const auto& [number, to] : subscribers) {
      if (!mach::try_send<news>(to, headline)) std::printf("%d misses: %s\n", number, headline);
    }
  }

  mach::death_watch<int> deaths;
  std::map<int, mach::send_right> subscribers;
  int next = 1;
};

kedge::task<> follow(const mach::send_right& from, const char* name) {
  const auto inbox = mach::receive_right::make();
  const auto print = [name](news& n) { std::printf("%s: %s\n", name, n.headline.c_str()); };
  (co_await mach::call<subscribe>(from, inbox.make_send())).value();
  co_await mach::serve(inbox, {.peers = mach::same_user()}, print);
}

kedge::task<> tell_all(publisher& p, const mach::send_right& own) {
  auto dying = mach::receive_right::make();
  const auto slow = mach::receive_right::make(1);  // is never read
  (co_await mach::call<subscribe>(own, dying.make_send())).value();
  (co_await mach::call<subscribe>(own, slow.make_send())).value();
  p.publish("high tide");
  dying.destroy();
  while (p.subscribers.size() == 3) co_await kedge::yield();
  p.publish("low tide");
  co_await kedge::yield();
}

int main() {
  kedge::loop loop;
  publisher p(loop);
  const auto port = mach::receive_right::make();
  const auto own = port.make_send();
  const auto take = [&](subscribe& q) { p.add(std::move(q.to)); };
  loop.spawn(p.remove_the_dead());
  loop.spawn(mach::serve(port, {.peers = mach::same_user()}, take));
  loop.spawn(follow(own, "reader"));
  loop.run(tell_all(p, own));
}
