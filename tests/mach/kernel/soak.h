// A test that plays seeds: some, or as many as there is time for. KEDGE_SEED is the first one,
// KEDGE_SOAK_SECONDS the time. KEDGE_SEED_DIVISOR divides the number of seeds; at least one is
// played.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "kedge/mach/kernel/snapshot.h"

namespace test {

inline std::uint64_t number_of(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

template <typename Play>
void play_seeds(std::uint64_t some, Play play) {
  const std::uint64_t first = number_of("KEDGE_SEED", 1);
  const auto time = std::chrono::seconds(number_of("KEDGE_SOAK_SECONDS", 0));
  const auto start = std::chrono::steady_clock::now();
  some /= number_of("KEDGE_SEED_DIVISOR", 1);
  std::uint64_t seed = first;
  do {
    play(seed++);
  } while (seed < first + some || std::chrono::steady_clock::now() - start < time);
}

// All there is in the kernel, but how often rights to its own ports were made.
inline std::string inventory() {
  kedge::mach::kernel::snapshot all = kedge::mach::kernel::take_snapshot();
  for (auto& each : all.ports) each.make_send_count = 0;
  return to_string(all);
}

}  // namespace test
