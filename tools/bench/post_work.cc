#include "benchmark.h"
#include "kedge/runtime/remote.h"

// 64 at a time, so that the drives cost little.
void post_to_own_thread(std::uint64_t n) {
  kedge::loop loop;
  count_turns(loop);
  const kedge::remote to = loop.get_remote();
  std::uint64_t done = 0;
  for (std::uint64_t i = 0; i < n; ++i) {
    to.post([&done] { ++done; });
    if (i % 64 == 63) loop.poll();
  }
  while (done < n) loop.poll();
}

// Between drives a loop is asleep.
void post_to_sleeping_loop(std::uint64_t n) {
  kedge::loop loop;
  count_turns(loop);
  static_cast<void>(loop.native_handle());
  const kedge::remote to = loop.get_remote();
  std::uint64_t done = 0;
  while (done < n) {
    to.post([&done] { ++done; });
    loop.poll();
  }
}
