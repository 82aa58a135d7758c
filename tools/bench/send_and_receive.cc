#include "benchmark.h"
#include "mach_port.h"

void send_and_receive(std::uint64_t n) {
  mach_port port;
  for (std::uint64_t i = 0; i < n; ++i) {
    port.send();
    port.receive();
  }
}
