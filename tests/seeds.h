// play_seeds(): runs a random test with many seeds. KEDGE_SEED is the first seed (1).
// KEDGE_SOAK_SECONDS is how long to go on after the first few seeds (0). KEDGE_SEED_DIVISOR divides
// the number of seeds (1). At least one seed is played.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>

namespace test {

// Returns the number in the environment variable, or `otherwise` if it is not set.
inline std::uint64_t number_of(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

// Calls play(seed) for at least `minimum` seeds.
template <typename Play>
void play_seeds(std::uint64_t minimum, Play play) {
  const std::uint64_t first = number_of("KEDGE_SEED", 1);
  const auto time = std::chrono::seconds(number_of("KEDGE_SOAK_SECONDS", 0));
  const auto start = std::chrono::steady_clock::now();
  minimum /= number_of("KEDGE_SEED_DIVISOR", 1);
  std::uint64_t seed = first;
  do {
    play(seed++);
  } while (seed < first + minimum || std::chrono::steady_clock::now() - start < time);
}

}  // namespace test
