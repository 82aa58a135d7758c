// retry: a test with virtual time. A client that gives up on a silent server after five seconds,
// and tries again up to three times with growing pauses, is tested in milliseconds, and always with
// the same result.
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <functional>

#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_timeout.h"

using namespace std::chrono_literals;

// --- What is tested: it knows nothing of virtual time --------------------------------------------

// Returns how many questions it took, or 0 if none was answered.
kedge::task<int> ask(kedge::descriptor& server) {
  std::array<std::byte, 1> byte{};
  for (int tries = 1; tries <= 3; ++tries) {
    if (!co_await server.write_some(byte)) co_return 0;
    if (co_await kedge::with_timeout(5s, server.read_some(byte))) co_return tries;
    co_await kedge::sleep_for(tries * 10s);
  }
  co_return 0;
}

// --- The tests -----------------------------------------------------------------------------------

// Answers one question, after so many that it leaves without an answer.
kedge::task<> answer_after(kedge::descriptor& client, int ignored) {
  std::array<std::byte, 1> byte{};
  for (int i = 0; i <= ignored; ++i) {
    if (!co_await client.read_some(byte)) co_return;
  }
  co_await kedge::sleep_for(4999ms);
  (void)co_await client.write_some(byte);
}

// Runs a client and a server that ignores some questions, each on a loop of its own.
bool holds(int ignored, int expected_tries, std::chrono::milliseconds expected_time) {
  kedge::virtual_time world;
  kedge::loop here(world), there(world);
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) return false;
  kedge::descriptor client(here, fds[0], kedge::ownership::owned);
  kedge::descriptor server(there, fds[1], kedge::ownership::owned);
  const auto start = world.now();
  there.spawn(answer_after, std::ref(server), ignored);
  const int tries = here.run(ask(client));
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(world.now() - start);
  const bool as_expected = tries == expected_tries && took == expected_time;
  std::printf("%d ignored: %d tries in %lld ms: %s\n", ignored, tries, (long long)took.count(),
              as_expected ? "as expected" : "WRONG");
  client.close();
  return world.run() == 0 && as_expected;  // nothing is left over
}

int main() {
  const bool all = holds(0, 1, 4999ms) & holds(1, 2, 5s + 10s + 4999ms) &
                   holds(2, 3, 5s + 10s + 5s + 20s + 4999ms) &
                   holds(3, 0, 5s + 10s + 5s + 20s + 5s + 30s);
  return all ? 0 : 1;
}
