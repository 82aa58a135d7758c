#include <chrono>
#include <cstddef>
#include <span>

#include "benchmark.h"
#include "descriptor_pool.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/with_timeout.h"

using namespace std::chrono_literals;

namespace {

kedge::task<> sleep_below(int frames) {
  if (frames == 1) {
    co_await kedge::sleep_for(1h);
  } else {
    co_await sleep_below(frames - 1);
  }
}

// A deadline of zero, so that no time passes.
kedge::task<> time_out(int frames, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    static_cast<void>(co_await kedge::with_timeout(0s, sleep_below(frames)));
  }
}

}  // namespace

// A read into an empty buffer ends at once.
kedge::task<> time_ready_leaves(kedge::loop& loop, std::uint64_t n) {
  kedge::descriptor file(loop, descriptors(1, 1).front(), kedge::ownership::borrowed);
  for (std::uint64_t i = 0; i < n; ++i) {
    (co_await kedge::with_timeout(1h, file.read_some(std::span<std::byte>()))).value();
  }
}

kedge::task<> time_out_one_frame(kedge::loop&, std::uint64_t n) {
  co_await time_out(1, n);
}

kedge::task<> time_out_five_frames(kedge::loop&, std::uint64_t n) {
  co_await time_out(5, n);
}
