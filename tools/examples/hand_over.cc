// hand_over: a client hands 64 MiB over to a server, without a copy.
//
// Shows a one-way request with memory out-of-line.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "kedge/mach/memory_region.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/serve.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;

struct show {  // MIG: simpleroutine show(display; in width, height: uint32_t; in picture:
               // pointer_t)
  static constexpr mach_msg_id_t id = 5100;
  std::uint32_t width;
  std::uint32_t height;
  mach::memory_region picture;
};

kedge::task<> draw(const mach::send_right& display) {
  constexpr std::uint32_t width = 8192;
  constexpr std::uint32_t height = 8192;
  auto picture = mach::memory_region::make(std::size_t{width} * height);
  std::ranges::fill(picture.bytes(), std::byte{7});
  auto sent = co_await mach::send<show>(display, width, height, std::move(picture));
  if (!sent) std::printf("not sent: %s\n", sent.error().code().message().c_str());
}

int main() {
  kedge::loop loop;
  mach::serve_control control;
  const auto port = mach::receive_right::make();
  const auto display = port.make_send();
  const auto paint = [&](show& q) {
    const auto bytes = q.picture.bytes();
    const auto painted = std::ranges::count(bytes, std::byte{7});
    std::printf("%u x %u: %td of %zu bytes are painted\n", q.width, q.height, painted,
                bytes.size());
    control.stop();
  };
  loop.spawn(draw(display));
  return loop.run(mach::serve(port, {.peers = mach::same_user(), .control = &control}, paint));
}
