// frame_length: the length in front of a frame: 1, 2, 4 or 8 bytes, the highest byte first.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kedge::net {

template <class T>
concept frame_length = std::same_as<T, std::uint8_t> || std::same_as<T, std::uint16_t> ||
                       std::same_as<T, std::uint32_t> || std::same_as<T, std::uint64_t>;

// Requires sizeof(Length) bytes.
template <frame_length Length>
std::uint64_t read_length(std::span<const std::byte> from) noexcept {
  std::uint64_t n = 0;
  for (const std::byte b : from.first(sizeof(Length))) n = n << 8 | std::to_integer<unsigned>(b);
  return n;
}

template <frame_length Length>
void write_length(std::span<std::byte, sizeof(Length)> to, std::uint64_t n) noexcept {
  for (std::size_t i = sizeof(Length); i-- > 0; n >>= 8) to[i] = static_cast<std::byte>(n & 0xff);
}

}  // namespace kedge::net
