// A coroutine service and its client: every build system makes this program.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "kedge/mach/call.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/runtime/runtime.h"

#if KEDGE_VERSION < KEDGE_VERSION_NUMBER(0, 1, 0)
#error "too old"
#endif

namespace {

kedge::task<> serve(kedge::mach::receive_right requests) {
  kedge::mach::received request = (co_await requests.receive()).value();
  const auto n = request.read<std::uint32_t>().value();
  kedge::mach::reply(request, kedge::mach::message(0, n * n));
}

kedge::task<std::uint32_t> ask(kedge::mach::send_right service, std::uint32_t n) {
  auto reply = co_await kedge::with_timeout(std::chrono::seconds(5),
                                            kedge::mach::call(service, kedge::mach::message(0, n)));
  co_return reply.value().read<std::uint32_t>().value();
}

}  // namespace

int main() {
  kedge::loop loop;
  auto requests = kedge::mach::receive_right::make();
  auto service = requests.make_send();
  loop.spawn(serve(std::move(requests)));
  const std::uint32_t answer = loop.run(ask(std::move(service), 12));
  std::printf("square: %u\n", static_cast<unsigned>(answer));
  return answer == 144 ? 0 : 1;
}
