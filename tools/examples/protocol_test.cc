// protocol_test: a protocol is tested over a stream in memory, in virtual time. No socket is
// opened, each run is the same, and a wait of 30 s takes no time.
//
// Linux only: on Darwin the kernel follows no time but its own.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <utility>

#include "kedge/net/any_stream.h"
#include "kedge/net/memory_stream.h"
#include "kedge/net/reader.h"
#include "kedge/net/write_all.h"
#include "kedge/net/writer.h"
#include "kedge/runtime/runtime.h"

using namespace std::chrono_literals;

// --- The code under test: it knows nothing of memory or virtual time -----------------------------

// Answers each line with its length, until the client ends. Hangs up if a line takes it over 30 s.
kedge::task<> serve(kedge::net::any_stream client) {
  kedge::net::reader in(client);
  kedge::net::writer out(client);
  for (;;) {
    const auto line = co_await kedge::with_timeout(30s, in.line(100));
    if (!line) co_return;
    const std::string answer = std::to_string(line->size()) + "\r\n";
    if (!co_await out.write(answer) || !co_await out.flush()) co_return;
  }
}

// --- Its test ----------------------------------------------------------------------------------

// Sends `text` in pieces of up to three bytes, each 10 ms under way. Returns all that comes back.
kedge::task<std::string> ask(kedge::net::memory_stream server, std::string text, bool hangs_up) {
  static_cast<void>(co_await kedge::net::write_all(server, std::as_bytes(std::span(text))));
  if (hangs_up) static_cast<void>(server.shutdown_write());
  kedge::net::reader in(server);
  std::string answers;
  while (const auto line = co_await in.line(100)) answers += std::string(*line) + ";";
  co_return answers;
}

bool expect(std::uint32_t seed, const char* text, bool hangs_up, const char* answers,
            kedge::clock::duration time) {
  kedge::virtual_time world;
  kedge::loop loop(world);
  const auto start = world.now();
  kedge::net::memory_pipe pipe(loop, {.delay = 10ms, .fragment = 3, .seed = seed});
  loop.spawn(serve, kedge::net::any_stream(std::move(pipe.a)));
  const std::string got = loop.run(ask(std::move(pipe.b), text, hangs_up));
  return got == answers && world.now() - start == time;
}

int main() {
  bool answers = true, hangs_up = true;
  for (std::uint32_t seed = 1; seed <= 100; ++seed) {
    answers = answers && expect(seed, "one\r\n\nthree\n", true, "3;0;5;", 20ms);
    hangs_up = hangs_up && expect(seed, "half a li", false, "", 30'010ms);
  }
  std::printf("answers: %d, hangs up: %d\n", answers, hangs_up);
  return answers && hangs_up ? 0 : 1;
}
