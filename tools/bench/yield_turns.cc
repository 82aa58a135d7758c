#include "benchmark.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/yield.h"

namespace {

kedge::task<> give_way(std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) co_await kedge::yield();
}

}  // namespace

kedge::task<> yield_turns(kedge::loop&, std::uint64_t n) {
  co_await kedge::when_all(give_way(n / 2), give_way(n - n / 2));
}
