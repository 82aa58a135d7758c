// hello: greets three people at the same time, and one more if that is quick enough.
#include <signal.h>

#include <chrono>
#include <cstdio>

#include "kedge/runtime/runtime.h"

using namespace std::chrono_literals;

kedge::task<> greet(const char* name) {
  co_await kedge::sleep_for(100ms);
  std::printf("hello, %s\n", name);
}

kedge::task<> greet_all() {
  const auto body = [](kedge::scope& s) -> kedge::task<> {
    for (const char* name : {"Ada", "Grace", "Barbara"}) s.spawn(greet, name);
    co_return;
  };
  co_await kedge::with_scope(body);  // ends when all children have ended
  if (!co_await kedge::with_timeout(50ms, greet("Nobody"))) std::puts("too late");
}

int main() {
  kedge::loop loop;
  return loop.run(kedge::with_signals({SIGINT, SIGTERM}, greet_all()));
}
