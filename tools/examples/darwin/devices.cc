// devices: lists the disks and partitions that come and go, for Darwin only.
//
// Shows a notification port of I/O Kit. The program links the framework IOKit.
#include <csignal>
#include <cstdio>

#include "kedge/mach/darwin/device_watch.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_signals.h"

namespace darwin = kedge::mach::darwin;

kedge::task<> list() {
  darwin::device_watch disks("IOMedia");
  for (;;) {
    const darwin::device_change c = (co_await disks.next()).value();
    std::printf("%s: %s\n", c.has_come ? "came" : "left", c.service.name().c_str());
  }
}

int main() {
  kedge::loop loop;
  return loop.run(kedge::with_signals({SIGINT, SIGTERM}, list()));
}
