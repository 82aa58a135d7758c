// A fuzz target: the bytes of a message, and the order in which its receiver reads them. Reading
// must never leave the message, and must fail for good once something was missing.
#include <mach/mach.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "byte_source.h"
#include "kedge/mach/message_reader.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/received.h"
#include "kedge/mach/send_right.h"
#include "kedge/mach/try_receive.h"

namespace kedge::mach {
namespace {

using fuzz::byte_source;
using fuzz::require;

bool is_within(const void* at, std::size_t size, std::span<const std::byte> all) {
  const auto* const from = static_cast<const std::byte*>(at);
  return size == 0 || (from >= all.data() && from + size <= all.data() + all.size());
}

// Reads by the input's steps. What is read must lie in `all`.
void read_all(message_reader reader, std::span<const std::byte> all, byte_source& steps) {
  for (int i = 0; i < 64 && !steps.empty(); ++i) {
    const bool could_read = static_cast<bool>(reader);
    bool has_read = true;
    switch (steps.below(8)) {
      case 0:
        has_read = reader.read<std::uint8_t>().has_value();
        break;
      case 1:
        has_read = reader.read<std::uint64_t>().has_value();
        break;
      case 2:
        has_read = reader.read<bool>().has_value();
        break;
      case 3: {
        const auto found = reader.bytes(steps.one_in(8) ? steps.word() : steps.byte());
        has_read = found.has_value();
        if (found) require(is_within(found->data(), found->size(), all), "bytes() leaves it");
        break;
      }
      case 4: {
        const auto found = reader.counted();
        has_read = found.has_value();
        if (found) require(is_within(found->data(), found->size(), all), "counted() leaves it");
        break;
      }
      case 5: {
        const auto found = reader.text();
        has_read = found.has_value();
        if (found) require(is_within(found->data(), found->size(), all), "text() leaves it");
        break;
      }
      case 6: {
        const auto found =
            reader.span<std::uint32_t>(steps.one_in(8) ? steps.word() : steps.byte());
        if (found) require(is_within(found->data(), found->size_bytes(), all), "span() leaves it");
        // Without a value the place may only have been unaligned.
        if (!found) continue;
        break;
      }
      default: {
        std::array<std::uint16_t, 5> to{};
        has_read = reader.copy_to(std::span(to));
        break;
      }
    }
    require(could_read || !has_read, "a read succeeds after one has failed");
    require(has_read == static_cast<bool>(reader), "the reader says otherwise than its read");
    require(is_within(reader.rest().data(), reader.rest().size(), all), "rest() leaves it");
  }
}

// A copy of its own, at whose end the sanitizer watches.
void read_bytes(byte_source input) {
  byte_source steps(input.take(32));
  const auto bytes = input.take(4096);
  const std::unique_ptr<std::byte[]> copy(new std::byte[bytes.size()]);
  if (!bytes.empty()) std::memcpy(copy.get(), bytes.data(), bytes.size());
  const std::span<const std::byte> all(copy.get(), bytes.size());
  read_all(message_reader(all), all, steps);
}

// Takes each descriptor as every kind in turn: it is at most one.
void take_apart(received& m, byte_source& steps) {
  for (std::size_t i = 0; i < std::min<std::size_t>(m.rights() + 1, 16); ++i) {
    try {
      for (int kinds = 0; kinds < 3; ++kinds) {
        switch (steps.below(6)) {
          case 0:
            static_cast<void>(m.take_send(i));
            break;
          case 1:
            static_cast<void>(m.take_send_once(i));
            break;
          case 2:
            static_cast<void>(m.take_receive(i));
            break;
          case 3:
            static_cast<void>(m.take_memory(i));
            break;
          case 4:
            static_cast<void>(m.take_send_array(i));
            break;
          default:
            static_cast<void>(m.take_send_once_array(i));
            break;
        }
      }
    } catch (const std::system_error&) {
    }
  }
}

// Makes the descriptors of a raw message name things that are there, and leaves all else as it is.
void make_plausible(std::span<std::byte> raw, mach_port_name_t port,
                    std::array<std::byte, 4096>& memory) {
  std::size_t at = sizeof(mach_msg_base_t);
  while (at + sizeof(mach_msg_port_descriptor_t) <= raw.size()) {
    mach_msg_type_descriptor_t d;
    std::memcpy(&d, raw.data() + at, sizeof d);
    const bool is_port = d.type == MACH_MSG_PORT_DESCRIPTOR;
    const std::size_t length =
        is_port ? sizeof(mach_msg_port_descriptor_t) : sizeof(mach_msg_ool_descriptor_t);
    if (at + length > raw.size()) return;
    if (is_port) {
      std::memcpy(raw.data() + at, &port, sizeof port);
    } else if (d.type <= MACH_MSG_OOL_VOLATILE_DESCRIPTOR) {
      mach_msg_ool_descriptor_t memory_of;
      std::memcpy(&memory_of, raw.data() + at, sizeof memory_of);
      memory_of.address = memory.data();
      memory_of.size %= 1000;  // of an array: the number of its names
      memory_of.deallocate = 0;
      std::memcpy(raw.data() + at, &memory_of, sizeof memory_of);
    }
    at += length;
  }
}

void receive_bytes(byte_source input) {
  byte_source steps(input.take(32));
  const receive_right port = receive_right::make();
  const send_right to = port.make_send();
  const auto bytes = input.take(4096);
  std::vector<std::byte> raw(sizeof(mach_msg_base_t) + (bytes.size() + 3) / 4 * 4);
  if (!bytes.empty())
    std::memcpy(raw.data() + sizeof(mach_msg_header_t), bytes.data(), bytes.size());
  auto& header = *reinterpret_cast<mach_msg_header_t*>(raw.data());
  header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0u) |
                     (steps.below(4) != 0 ? MACH_MSGH_BITS_COMPLEX : 0u);
  header.msgh_remote_port = to.name();
  std::array<std::byte, 4096> memory{};
  make_plausible(raw, to.name(), memory);
  if (mach_msg(&header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, static_cast<mach_msg_size_t>(raw.size()),
               0, MACH_PORT_NULL, 0, MACH_PORT_NULL) != MACH_MSG_SUCCESS) {
    return;
  }
  received m;
  std::size_t expected = 0;
  const mach_msg_return_t code = try_receive(port.name(), expected, m, {.max = steps.byte() * 64u});
  if (code != MACH_MSG_SUCCESS) return;
  read_all(m.reader(), m.bytes(), steps);
  take_apart(m, steps);
}

}  // namespace
}  // namespace kedge::mach

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  kedge::mach::read_bytes(fuzz::byte_source({data, size}));
  kedge::mach::receive_bytes(fuzz::byte_source({data, size}));
  return 0;
}
