// array: up to N plain values, which a typed request or reply holds in place.
//
//     struct add_samples {
//       static constexpr mach_msg_id_t id = 5010;
//       mach::array<std::int32_t, 256> samples;             // MIG: array[*:256] of int32_t
//     };
//
// A message carries only the values that there are, behind their number. Copying costs by size(),
// not by N.
//
// Errors: making one, and push_back(), throw std::length_error if there are more values than N.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <ranges>
#include <span>
#include <stdexcept>

#include "kedge/mach/plain.h"

namespace kedge::mach {

template <class T, std::size_t N>
class array {
  static_assert(plain<T> && !std::same_as<T, bool> && N > 0,
                "an array has plain values, as std::uint32_t, and no bool (use std::uint8_t)");

 public:
  using value_type = T;

  // How many values there can be.
  static constexpr std::size_t max_size() noexcept { return N; }

  // Empty.
  array() noexcept {}
  // The values of a vector, an array, a span.
  template <std::ranges::contiguous_range Range>
    requires std::convertible_to<const Range&, std::span<const T>>
  array(const Range& from) {
    const std::span<const T> values(from);
    require_room(values.size());
    assign(values.data(), values.size());
  }
  array(const array& other) noexcept { assign(other.values_, other.size_); }
  array& operator=(const array& other) noexcept {
    if (this != &other) assign(other.values_, other.size_);
    return *this;
  }
  ~array() = default;

  void push_back(const T& value) {
    require_room(size_ + 1);
    values_[size_++] = value;
  }
  // Leaves the first `size` values, or adds such of value 0.
  void resize(std::size_t size) {
    require_room(size);
    if (size > size_) std::fill(values_ + size_, values_ + size, T{});
    size_ = size;
  }

  T* data() noexcept { return values_; }
  const T* data() const noexcept { return values_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T* begin() noexcept { return values_; }
  T* end() noexcept { return values_ + size_; }
  const T* begin() const noexcept { return values_; }
  const T* end() const noexcept { return values_ + size_; }
  T& operator[](std::size_t i) noexcept { return values_[i]; }
  const T& operator[](std::size_t i) const noexcept { return values_[i]; }

 private:
  friend class message_decoder;

  static void require_room(std::size_t size) {
    if (size > N) {
      throw std::length_error("kedge::mach::array: more values than there is room for");
    }
  }
  // `from` need not be aligned.
  void assign(const void* from, std::size_t size) noexcept {
    size_ = size;
    if (size != 0) std::memcpy(values_, from, size * sizeof(T));
  }

  std::size_t size_ = 0;
  T values_[N];
};

}  // namespace kedge::mach
