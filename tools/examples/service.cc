// service: a service that counts letters, and a client that finds it by its name, on one loop.
//
// Shows a typed request, a server with limits and a policy, a name, and the server's end.
#include <chrono>
#include <cstdint>
#include <cstdio>

#include "kedge/mach/serve.h"
#include "kedge/mach/service.h"
#include "kedge/mach/service_names.h"
#include "kedge/mach/text.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace mach = kedge::mach;
using namespace std::chrono_literals;

struct count_letters {
  static constexpr mach_msg_id_t id = 5000;
  mach::text<1024> word;
  struct reply {
    std::uint64_t letters;
  };
};

kedge::task<> ask(mach::serve_control& server) {
  mach::service letters("org.example.letters");
  for (const char* word : {"kedge", "anchor"}) {
    const auto counted = co_await letters.call<count_letters>(word);
    std::printf("%s: %llu\n", word, (unsigned long long)counted.value().letters);
  }
  server.stop();
}

int main() {
  kedge::loop loop;
  mach::serve_control control;
  const auto port = mach::check_in("org.example.letters").value();
  const auto count = [](count_letters& q) { return count_letters::reply{q.word.size()}; };
  loop.spawn(ask(control));
  return loop.run(mach::serve(
      port, {.concurrency = 16, .deadline = 5s, .peers = mach::same_user(), .control = &control},
      count));
}
