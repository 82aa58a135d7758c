#include <chrono>
#include <new>
#include <vector>

#include "benchmark.h"
#include "descriptor_pool.h"
#include "kedge/runtime/awaiting/frame_recycler.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/with_timeout.h"

namespace {

// Takes each block from the heap. The recycler keeps what an earlier run has released.
struct heap final : kedge::frame_resource {
  void* allocate(std::size_t size) override { return ::operator new(size); }
  void release(void* block, std::size_t) noexcept override { ::operator delete(block); }
};

kedge::task<> sleeper() {
  co_await kedge::sleep_for(std::chrono::hours(1));
}

}  // namespace

void hold_sleepers(std::uint64_t n) {
  heap blocks;
  kedge::frame_recycler::use(&blocks);
  {
    kedge::loop loop;
    count_turns(loop);
    for (std::uint64_t i = 0; i < n; ++i) loop.spawn(sleeper);
    while (loop.poll()) continue;
  }
  kedge::frame_recycler::use(nullptr);
}

// Each of them has been awaited once.
kedge::task<> hold_descriptors(kedge::loop& loop, std::uint64_t n) {
  std::vector<kedge::descriptor> held;
  held.reserve(n);
  std::byte buffer[1];
  for (const int fd : descriptors(n, 0)) {
    held.emplace_back(loop, fd, kedge::ownership::borrowed);
    static_cast<void>(
        co_await kedge::with_timeout(std::chrono::seconds(0), held.back().read_some(buffer)));
  }
}
