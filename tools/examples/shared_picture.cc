// shared_picture: a painter draws into memory that the client sees, without sending it back.
//
// The client shares its picture by a right to a memory entry. The painter maps the entry: both have
// the same pages, and the reply only says that the work is done.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "kedge/mach/call.h"
#include "kedge/mach/memory_region.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;

constexpr std::uint64_t largest = 64 << 20;

kedge::task<> paint(mach::receive_right requests) {
  mach::received request = (co_await requests.receive()).value();
  // The client says how large the picture is. A lie is an exception here, and no wild write.
  const std::uint64_t size = std::min(request.read<std::uint64_t>().value_or(0), largest);
  auto canvas = mach::memory_region::map(request.take_send(0), size);
  std::fill(canvas.bytes().begin(), canvas.bytes().end(), std::byte{'#'});
  mach::reply(request, mach::message(0));
}

kedge::task<> order(mach::send_right painter) {
  auto picture = mach::memory_region::make(1 << 20);
  picture.resize(2 << 20);  // two pictures, it turns out
  (co_await mach::call(painter, mach::message(0, std::uint64_t{picture.size()}, picture.share())))
      .value();
  const auto painted = std::count(picture.text().begin(), picture.text().end(), '#');
  std::printf("%lld of %zu bytes are painted\n", (long long)painted, picture.size());
}

int main() {
  kedge::loop loop;
  auto requests = mach::receive_right::make();
  const mach::send_right painter = requests.make_send();
  loop.spawn(paint(std::move(requests)));
  loop.run(order(painter));
}
