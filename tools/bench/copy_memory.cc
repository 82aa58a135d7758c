#include <cstring>
#include <vector>

#include "benchmark.h"

void copy_memory(std::uint64_t n) {
  constexpr std::size_t size = 64u << 20;
  // Volatile, so that the compiler does not drop copies. All pages are in place before the first.
  static void* (*volatile const copy)(void*, const void*, std::size_t) = std::memcpy;
  static const std::vector<char> from(size, 1);
  static std::vector<char> to(size, 2);
  for (std::uint64_t i = 0; i < n; ++i) copy(to.data(), from.data(), size);
}
