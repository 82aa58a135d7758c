// plain, readable: the types that a message carries as their bytes.
// raw(), counted(): bytes of other kinds, as parts of a message.
//
//     message m(id, header, mach::counted(name), mach::counted(blob), mach::raw(statistics));
//
// A message is padded to a multiple of four bytes, and parts follow each other without a gap. So
// the receiver cannot tell where text or bytes end, unless they are the last part and their padding
// does not matter. counted() sends their length along: message_reader finds it.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace kedge::mach {

// A type without pointers, references and unions, at any depth: only such a type can be made from
// bytes in a constant expression. (g++ 12 does not see a pointer in an array inside a structure.)
template <class T>
concept without_addresses = requires {
  typename std::bool_constant<(
      static_cast<void>(std::bit_cast<T>(std::array<unsigned char, sizeof(T)>{})), true)>;
};

// A type whose bytes are its value, without padding, which could disclose other data of the sender,
// and without addresses, which mean nothing to the receiver.
template <class T>
concept plain = std::is_trivially_copyable_v<T> && !std::is_array_v<T> && !std::is_pointer_v<T> &&
                (std::has_unique_object_representations_v<T> || std::same_as<T, float> ||
                 std::same_as<T, double>) &&
                without_addresses<T>;

// A type that can be made from the bytes of a message: without addresses, which a hostile sender
// would choose. Of a bool or an enumeration inside of it the value is not checked.
template <class T>
concept readable = std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T> &&
                   !std::is_pointer_v<T> && !std::is_member_pointer_v<T> && !std::is_array_v<T> &&
                   without_addresses<T>;

// The bytes of `value` as they are, padding included. For a type that is not plain: one with
// padding, or with floating-point members. One with addresses is refused.
template <class T>
  requires std::is_trivially_copyable_v<T> && (!std::is_pointer_v<T>) && without_addresses<T>
std::span<const std::byte> raw(const T& value) noexcept {
  return std::as_bytes(std::span(&value, 1));
}

// Bytes that are sent behind their number: four bytes for the number, the bytes, and up to three
// zeros, so that a multiple of four was sent.
struct counted_bytes {
  std::span<const std::byte> bytes;
};
inline counted_bytes counted(std::span<const std::byte> bytes) noexcept {
  return {bytes};
}
inline counted_bytes counted(std::string_view text) noexcept {
  return {std::as_bytes(std::span(text))};
}

// Copies a T from the sizeof(T) bytes at `from`. Returns nullopt for a bool that is neither false
// nor true.
template <readable T>
std::optional<T> read_value(const std::byte* from) noexcept {
  if constexpr (std::is_same_v<std::remove_cv_t<T>, bool>) {
    if (std::to_integer<unsigned>(*from) > 1) return std::nullopt;
  }
  T value;
  std::memcpy(static_cast<void*>(&value), from, sizeof(T));
  return value;
}

}  // namespace kedge::mach
