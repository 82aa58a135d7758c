// follow: copies standard input to standard output as it arrives.
//
//     make 2>&1 | follow 30        # until the input ends, or is silent for 30 seconds
//
// Exits with 0 at the end of the input, 1 on a time-out, 130 on Ctrl-C. However it ends, every wait
// is unwound, and the last line gives the number of bytes copied.
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/signal_set.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"

struct tally {
  std::size_t bytes = 0;
  ~tally() { std::fprintf(stderr, "follow: %zu bytes\n", bytes); }
};

kedge::task<int> follow(kedge::descriptor& in, kedge::clock::duration patience) {
  tally seen;
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const auto n = co_await kedge::with_timeout(patience, in.read_some(buffer));
    if (!n && n.error() == kedge::errc::end_of_file) co_return 0;
    if (!n) {
      std::fprintf(stderr, "follow: %s\n", n.error().message().c_str());
      co_return 1;
    }
    seen.bytes += std::fwrite(buffer.data(), 1, *n, stdout);
    std::fflush(stdout);
  }
}

kedge::task<int> follow_or_stop(kedge::loop& loop, kedge::clock::duration patience) {
  kedge::descriptor in(loop, STDIN_FILENO, kedge::ownership::borrowed);
  kedge::signal_set stop(loop, {SIGINT, SIGTERM});
  const auto [status, signal] = co_await kedge::when_any(follow(in, patience), stop.next());
  co_return status ? *status : 128 + signal->value().number;
}

int main(int argc, char** argv) {
  kedge::loop loop;
  return loop.run(follow_or_stop(loop, std::chrono::seconds(argc > 1 ? std::atoi(argv[1]) : 60)));
}
