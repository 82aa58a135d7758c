// message_reader: reads the parts of a message one after the other, as they were appended.
//
//     mach::message_reader parts = request.reader();
//     const auto header = parts.read<batch_header>();
//     const auto name = parts.text();                  // sent as mach::counted(name)
//     if (!header || !name) co_return;                 // the message is too short
//
// The contents are not trusted: reading never leaves the message. Once something was missing, every
// later read gives nullopt, so it is enough to check the last one.
//
// A reader, and the texts and spans that it gives, refer to the message: they are valid until the
// message is moved, cleared or destroyed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "kedge/mach/plain.h"

namespace kedge::mach {

class message_reader {
 public:
  explicit message_reader(std::span<const std::byte> bytes) noexcept : left_(bytes) {}

  // Returns false once a read has failed.
  explicit operator bool() const noexcept { return !failed_; }
  // What was not read yet. Up to three zeros follow what the sender wrote. Empty after a failure.
  std::span<const std::byte> rest() const noexcept { return left_; }

  // Copies a T. Returns nullopt if the rest is shorter, and for a bool that is neither 0 nor 1.
  template <readable T>
  std::optional<T> read() noexcept {
    const std::byte* const from = take(sizeof(T));
    if (from == nullptr) return std::nullopt;
    std::optional<T> value = read_value<T>(from);
    if (!value) fail();
    return value;
  }

  // The next `count` bytes.
  std::optional<std::span<const std::byte>> bytes(std::size_t count) noexcept {
    const std::byte* const from = take(count);
    if (from == nullptr) return std::nullopt;
    return std::span(from, count);
  }

  // Bytes that were sent by counted(), and text that was sent by mach::counted().
  std::optional<std::span<const std::byte>> counted() noexcept {
    const auto count = read<std::uint32_t>();
    if (!count) return std::nullopt;
    const auto found = bytes(*count);
    if (!found || bytes((4 - *count % 4) % 4)) return found;
    return std::nullopt;
  }
  std::optional<std::string_view> text() noexcept {
    const auto found = counted();
    if (!found) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(found->data()), found->size());
  }

  // The next `count` values of T in place, without a copy. Returns nullopt if the rest is shorter,
  // or does not begin at an address that is aligned for T: then copy_to() reads them.
  template <plain T>
    requires(!std::same_as<T, bool>)
  std::optional<std::span<const T>> span(std::size_t count) noexcept {
    if (reinterpret_cast<std::uintptr_t>(left_.data()) % alignof(T) != 0) return std::nullopt;
    if (count > left_.size() / sizeof(T)) return fail(), std::nullopt;
    const std::byte* const from = take(count * sizeof(T));
    if (from == nullptr) return std::nullopt;
    return std::span(reinterpret_cast<const T*>(from), count);
  }

  // Copies as many values as `to` holds. Returns false, and copies nothing, if the rest is shorter.
  template <plain T, std::size_t Extent>
    requires(!std::same_as<T, bool>)
  bool copy_to(std::span<T, Extent> to) noexcept {
    const std::byte* const from = take(to.size_bytes());
    if (from != nullptr && !to.empty()) std::memcpy(to.data(), from, to.size_bytes());
    return from != nullptr;
  }

 private:
  // Returns where the next `count` bytes begin, or null if there are fewer.
  const std::byte* take(std::size_t count) noexcept {
    if (failed_ || count > left_.size()) return fail(), nullptr;
    // A message without bytes has an address too.
    static constexpr std::byte nothing{};
    const std::byte* const from = left_.data() != nullptr ? left_.data() : &nothing;
    left_ = left_.subspan(count);
    return from;
  }
  void fail() noexcept {
    failed_ = true;
    left_ = {};
  }

  std::span<const std::byte> left_;
  bool failed_ = false;
};

}  // namespace kedge::mach
