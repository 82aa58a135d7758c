// Tasks that read and write text by way of a descriptor.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "drain.h"
#include "kedge/runtime/descriptor.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace kedge {

inline std::span<const std::byte> bytes(std::string_view s) {
  return std::as_bytes(std::span(s.data(), s.size()));
}

// Reads once, and stores the text or the error.
inline task<> read_once(descriptor& d, std::optional<result<std::string>>& out) {
  std::array<std::byte, 64> buffer{};
  const auto n = co_await d.read_some(buffer);
  if (n) {
    out = std::string(reinterpret_cast<const char*>(buffer.data()), *n);
  } else {
    out = result<std::string>(unexpected(n.error()));
  }
}

// Appends what it reads to `out`, with a bar behind each read, until a read fails. Gives the error.
inline task<std::error_code> read_parts(descriptor& d, std::string& out) {
  std::array<std::byte, 64> buffer{};
  for (;;) {
    const auto n = co_await d.read_some(buffer);
    if (!n) co_return n.error();
    out.append(reinterpret_cast<const char*>(buffer.data()), *n).append("|");
  }
}

}  // namespace kedge
