// restarts: a client outlives three restarts of its service.
//
// Shows that a service is found again by its name. A request that was not sent when the service
// ended is sent to the next one; one that was sent is the client's to repeat.
#include <cstdint>
#include <cstdio>

#include "kedge/mach/error.h"
#include "kedge/mach/serve.h"
#include "kedge/mach/service.h"
#include "kedge/mach/service_names.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;

struct draw_number {
  static constexpr mach_msg_id_t id = 5300;
  struct reply {
    std::uint32_t life;
    std::uint32_t number;
  };
};

// A service that ends after two requests, and is started again three times.
kedge::task<> live_four_times() {
  for (std::uint32_t life = 1; life <= 4; ++life) {
    std::uint32_t number = 0;
    mach::serve_control control;
    const auto port = mach::check_in("org.example.lottery").value();
    const auto draw = [&](draw_number&) {
      if (++number == 2) control.stop();
      return draw_number::reply{life, number};
    };
    co_await mach::serve(port, {.peers = mach::same_user(), .control = &control}, draw);
  }  // the port dies, and the name with it
}

kedge::task<> ask() {
  mach::service lottery("org.example.lottery");
  for (std::uint32_t life = 0; life < 4;) {
    const auto drawn = co_await lottery.call<draw_number>();
    if (drawn) {
      life = drawn->life;
      std::printf("life %u: number %u\n", drawn->life, drawn->number);
    } else if (drawn.error().code() == mach::errc::no_reply) {
      // The service has ended with the request. It is ours to know that a second draw does no harm.
      std::puts("the request was lost");
    } else {
      std::printf("%s\n", drawn.error().text().c_str());
      co_return;
    }
  }
}

int main() {
  kedge::loop loop;
  loop.spawn(live_four_times());
  loop.run(ask());
}
