// last_words: says which bad access ends the process, for Darwin only.
//
// Shows an exception port. Its loop runs on a thread of its own, since the thread that has raised
// the exception waits for the answer.
#include <cstdio>
#include <thread>

#include "kedge/mach/darwin/exception_port.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace darwin = kedge::mach::darwin;

kedge::task<> report(darwin::exception_port& port) {
  darwin::exception e = (co_await port.next()).value();
  std::fprintf(stderr, "a bad access to 0x%llx\n", (unsigned long long)e.subcode());
  std::move(e).pass_on();
}

int main() {
  darwin::exception_port port(EXC_MASK_BAD_ACCESS);
  std::thread watcher([&] {
    kedge::loop loop;
    loop.run(report(port));
  });
  int* volatile nowhere = nullptr;
  *nowhere = 1;
  watcher.join();
}
