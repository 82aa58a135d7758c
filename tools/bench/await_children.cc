#include "benchmark.h"

namespace {

kedge::task<std::uint64_t> child(std::uint64_t i) {
  co_return i;
}

}  // namespace

kedge::task<> await_children(kedge::loop&, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) static_cast<void>(co_await child(i));
}
