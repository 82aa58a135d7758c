// Runs a fuzz target on inputs from seeds, so that every compiler runs it. Linked with one target.
// KEDGE_SEED_DIVISOR divides the number of inputs. A failure ends the program.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

TEST_CASE("the fuzz target holds for 3,000 inputs, small and large, dense and sparse") {
  const char* const divisor = std::getenv("KEDGE_SEED_DIVISOR");
  const unsigned long inputs = 3000 / (divisor != nullptr ? std::strtoul(divisor, nullptr, 10) : 1);
  for (unsigned seed = 1; seed <= inputs; ++seed) {
    std::mt19937 random(seed);
    std::vector<std::uint8_t> input(random() % (seed % 8 == 0 ? 4000 : 400));
    const std::uint32_t zeros = seed % 4;
    for (std::uint8_t& each : input) {
      each = random() % 4 < zeros ? std::uint8_t{0} : static_cast<std::uint8_t>(random());
    }
    CAPTURE(seed);
    CHECK(LLVMFuzzerTestOneInput(input.data(), input.size()) == 0);
  }
}
