#include "benchmark.h"
#include "mach_port.h"
#include "pinned_thread.h"

void ask_a_thread(std::uint64_t n) {
  mach_port there, back;
  std::thread other = pinned_thread(0, [&] {
    for (std::uint64_t i = 0; i < n; ++i) {
      there.receive();
      back.send();
    }
  });
  std::thread one = pinned_thread(0, [&] {
    for (std::uint64_t i = 0; i < n; ++i) {
      there.send();
      back.receive();
    }
  });
  one.join();
  other.join();
}
