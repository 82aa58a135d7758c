#include "benchmark.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/yield.h"

namespace {

kedge::task<> child() {
  co_return;
}

}  // namespace

// In one scope, 64 at a time, so that the body's turns cost little.
kedge::task<> spawn_in_scope(kedge::loop&, std::uint64_t n) {
  co_await kedge::with_scope([n](kedge::scope& s) -> kedge::task<> {
    for (std::uint64_t i = 0; i < n; ++i) {
      s.spawn(child);
      if (i % 64 == 63) co_await kedge::yield();
    }
  });
}

kedge::task<> open_scopes(kedge::loop&, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    co_await kedge::with_scope([](kedge::scope& s) -> kedge::task<> {
      s.spawn(child);
      co_return;
    });
  }
}
