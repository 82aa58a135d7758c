#include <vector>

#include "benchmark.h"
#include "kedge/mach/died.h"
#include "kedge/mach/receive_right.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"

namespace mach = kedge::mach;

namespace {

struct watched_port {
  mach::receive_right port = mach::receive_right::make();
  mach::send_right right = port.make_send();
};

kedge::task<> watch(watched_port& port, std::uint64_t n, bool dies) {
  co_await kedge::with_scope([&port, n, dies](kedge::scope& s) -> kedge::task<> {
    for (std::uint64_t i = 0; i < n; ++i) s.spawn([&port] { return mach::died(port.right); });
    co_await kedge::yield();  // the children begin to wait
    if (dies) port.port.destroy();
  });
}

struct watchers {
  kedge::loop loop;
  watched_port dies, lives;
};

}  // namespace

// most_watchers children wait for the death of one of two ports. The port of n of them dies, and
// the others wait for ever. So two runs differ in the deaths told, and in the ends of the children.
void tell_of_a_death(std::uint64_t n) {
  static auto* const left = new std::vector<watchers*>;
  watchers& w = *left->emplace_back(new watchers);
  count_turns(w.loop);
  w.loop.spawn(watch(w.lives, most_watchers - n, false));
  w.loop.run(watch(w.dies, n, true));
}
