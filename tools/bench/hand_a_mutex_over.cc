#include "benchmark.h"
#include "kedge/runtime/mutex.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/yield.h"

namespace {

kedge::task<> lock_and_yield(kedge::mutex& m, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    const auto held = co_await m.lock();
    co_await kedge::yield();
  }
}

}  // namespace

kedge::task<> hand_a_mutex_over(kedge::loop&, std::uint64_t n) {
  kedge::mutex m;
  co_await kedge::when_all(lock_and_yield(m, n / 2), lock_and_yield(m, n - n / 2));
}
