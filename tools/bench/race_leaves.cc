#include "benchmark.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/yield.h"

// One ends at its turn, and the other is cancelled.
kedge::task<> race_leaves(kedge::loop&, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    static_cast<void>(co_await kedge::when_any(kedge::yield(), kedge::forever()));
  }
}
