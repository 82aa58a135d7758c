// Runs a fuzz target on inputs from seeds, so that every compiler runs it. Linked with one target.
// A failure ends the program.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/seeds.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

TEST_CASE("the fuzz target holds for 3,000 inputs, small and large, dense and sparse") {
  test::play_seeds(3000, [](std::uint64_t seed) {
    std::mt19937 random(static_cast<std::uint32_t>(seed));
    std::vector<std::uint8_t> input(random() % (seed % 8 == 0 ? 4000 : 400));
    const auto zeros = static_cast<std::uint32_t>(seed % 4);
    for (std::uint8_t& each : input) {
      each = random() % 4 < zeros ? std::uint8_t{0} : static_cast<std::uint8_t>(random());
    }
    CAPTURE(seed);
    CHECK(LLVMFuzzerTestOneInput(input.data(), input.size()) == 0);
  });
}
