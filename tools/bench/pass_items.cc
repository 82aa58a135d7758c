#include "benchmark.h"
#include "kedge/runtime/channel.h"
#include "kedge/runtime/when_all.h"

namespace {

kedge::task<> produce(kedge::channel<int>& items, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    if (!co_await items.send(static_cast<int>(i))) co_return;
  }
  items.close();
}

kedge::task<> consume(kedge::channel<int>& items) {
  while (const auto item = co_await items.receive()) static_cast<void>(*item);
}

}  // namespace

template <std::size_t capacity>
kedge::task<> pass_items(kedge::loop&, std::uint64_t n) {
  kedge::channel<int> items(capacity);
  co_await kedge::when_all(consume(items), produce(items, n));
}

template kedge::task<> pass_items<1>(kedge::loop&, std::uint64_t);
template kedge::task<> pass_items<64>(kedge::loop&, std::uint64_t);
