#include "benchmark.h"
#include "mach_port.h"
#include "pinned_thread.h"

namespace {

struct message_waiter {
  void wake() { port.send(); }
  void wait() { port.receive(); }
  mach_port port;
};

}  // namespace

void ask_a_thread(std::uint64_t n) {
  take_turns<message_waiter>(n);
}
