// byte_source: what a fuzz target does, drawn from its input. require(): ends the program when a
// target has found a fault, which is how libFuzzer notices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

namespace fuzz {

inline void require(bool holds, const char* what) noexcept {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

// Reads numbers from the front of the input. At its end all numbers are 0.
class byte_source {
 public:
  explicit byte_source(std::span<const std::uint8_t> input) noexcept : left_(input) {}

  bool empty() const noexcept { return left_.empty(); }
  std::span<const std::uint8_t> take(std::size_t count) noexcept {
    const std::span<const std::uint8_t> taken =
        left_.first(count < left_.size() ? count : left_.size());
    left_ = left_.subspan(taken.size());
    return taken;
  }
  std::uint8_t byte() noexcept {
    const std::span<const std::uint8_t> taken = take(1);
    return taken.empty() ? std::uint8_t{0} : taken.front();
  }
  std::uint32_t word() noexcept {
    std::uint32_t drawn = 0;
    const std::span<const std::uint8_t> taken = take(sizeof drawn);
    if (!taken.empty()) std::memcpy(&drawn, taken.data(), taken.size());
    return drawn;
  }
  // A number below `bound`.
  std::uint32_t below(std::uint32_t bound) noexcept {
    return (bound <= 256 ? byte() : word()) % bound;
  }
  // True once in so many times, but not at the end of the input.
  bool one_in(std::uint32_t times) noexcept { return byte() % times == times - 1; }

 private:
  std::span<const std::uint8_t> left_;
};

}  // namespace fuzz
