// time_zone: says when the time zone of the system changes, for Darwin only.
//
// Shows notify(3) as a source, beside a signal.
#include <csignal>
#include <cstdio>
#include <ctime>

#include "kedge/mach/darwin/posted_name.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_signals.h"

kedge::task<> follow() {
  const kedge::mach::darwin::posted_name zone("com.apple.system.timezone");
  for (;;) {
    (co_await zone.next()).value();
    ::tzset();
    std::puts(::tzname[0]);
  }
}

int main() {
  kedge::loop loop;
  return loop.run(kedge::with_signals({SIGINT, SIGTERM}, follow()));
}
