// random_draw: random numbers (splitmix64) that depend on the seed alone, on every platform.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace test {

class random_draw {
 public:
  explicit random_draw(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t drawn = state_ += 0x9e3779b97f4a7c15u;
    drawn = (drawn ^ drawn >> 30) * 0xbf58476d1ce4e5b9u;
    drawn = (drawn ^ drawn >> 27) * 0x94d049bb133111ebu;
    return drawn ^ drawn >> 31;
  }
  // A number from 0 to limit - 1.
  unsigned below(std::size_t limit) { return static_cast<unsigned>(next() % limit); }
  // One of the elements.
  template <typename T>
  const T& among(const std::vector<T>& all) {
    return all[below(all.size())];
  }

 private:
  std::uint64_t state_;
};

}  // namespace test
