// Reads and writes messages in the notation of traces.
#include "message_text.h"

#include <mach/notify.h>
#include <mach/vm_map.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

#include "constant_names.h"
#include "script.h"

namespace conformance {
namespace {

// More than any message needs. Untouched pages cost nothing.
constexpr vm_size_t capacity = 64u << 20;

// The bytes that a call may write beyond its size: the header and trailer of an error.
constexpr std::size_t overhang = 128;

mach_msg_bits_t* bits_of(mach_msg_header_t* header) noexcept {
  return &header->msgh_bits;
}

}  // namespace

// The zeroed buffer of a destroyed player, kept because mapping one per player costs more than
// playing.
static vm_address_t spare_buffer = 0;

message_buffer::message_buffer() : address_(std::exchange(spare_buffer, 0)) {
  if (address_ == 0 &&
      vm_allocate(mach_task_self(), &address_, capacity, VM_FLAGS_ANYWHERE) != KERN_SUCCESS) {
    throw std::bad_alloc();
  }
}

message_buffer::~message_buffer() {
  release_sent();
  release(received_);
  std::memset(bytes(), 0, used_);
  const vm_address_t other = std::exchange(spare_buffer, address_);
  if (other != 0) vm_deallocate(mach_task_self(), other, capacity);
}

template <typename T>
T message_buffer::at(std::size_t offset) const noexcept {
  T value;
  std::memcpy(&value, bytes() + offset, sizeof value);
  return value;
}

std::string message_buffer::write_context(std::uint64_t context) const {
  return context == address_ ? "@buf" : write_hex(context);
}

std::uint64_t message_buffer::read_context(std::string_view token) const {
  return token == "@buf" ? std::uint64_t{address_} : read_u64(token);
}

vm_address_t message_buffer::new_region(vm_size_t size, bool given_away) {
  vm_address_t memory = 0;
  if (size == 0) return 0;
  if (vm_allocate(mach_task_self(), &memory, size, VM_FLAGS_ANYWHERE) != KERN_SUCCESS) {
    throw std::bad_alloc();
  }
  if (!given_away) sent_.push_back({memory, size});
  return memory;
}

void release(std::vector<region>& memory) noexcept {
  for (const region& each : memory) vm_deallocate(mach_task_self(), each.address, each.size);
  memory.clear();
}

void message_buffer::release_sent() noexcept {
  release(sent_);
}

void message_buffer::restore(const std::vector<std::byte>& message) {
  std::memcpy(bytes(), message.data(), message.size());
  used_ = std::max(used_, message.size());
}

void message_buffer::append(const void* from, std::size_t size) {
  if (filled_ + size > capacity - overhang) throw bad_script("a message is too large", "");
  std::memcpy(bytes() + filled_, from, size);
  filled_ += size;
}

// ool:<len>:<v>[:dealloc][:virt][:copy<k>][:vol]
void message_buffer::add_memory(const std::vector<std::string_view>& parts) {
  if (parts.size() < 3) throw bad_script("a memory descriptor needs a length and a byte", "");
  mach_msg_ool_descriptor_t memory{};
  memory.type = MACH_MSG_OOL_DESCRIPTOR;
  memory.size = read_number<mach_msg_size_t>(parts[1]);
  for (std::size_t index = 3; index < parts.size(); ++index) {
    const std::string_view part = parts[index];
    if (part == "dealloc") {
      memory.deallocate = 1;
    } else if (part == "virt") {
      memory.copy = MACH_MSG_VIRTUAL_COPY;
    } else if (part == "vol") {
      memory.type = MACH_MSG_OOL_VOLATILE_DESCRIPTOR;
    } else if (part.starts_with("copy")) {
      memory.copy = read_number<std::uint8_t>(part.substr(4));
    } else {
      throw bad_script("no part of a memory descriptor", part);
    }
  }
  if (parts[2] == "badaddr") {
    memory.address = reinterpret_cast<void*>(0x10);
  } else if (memory.size > 0) {
    auto* first = reinterpret_cast<unsigned char*>(new_region(memory.size, memory.deallocate));
    const auto start = read_number<unsigned>(parts[2]);
    for (mach_msg_size_t index = 0; index < memory.size; ++index) {
      first[index] = static_cast<unsigned char>(start + index);
    }
    memory.address = first;
  }
  append(&memory, sizeof memory);
}

// oolp:<disp>:<N+N+..|->[:dealloc][:copy<k>]
void message_buffer::add_ports(const std::vector<std::string_view>& parts,
                               const message_names& names) {
  if (parts.size() < 3) throw bad_script("a ports descriptor needs a disposition and names", "");
  mach_msg_ool_ports_descriptor_t ports{};
  ports.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
  ports.disposition = static_cast<std::uint8_t>(read_disposition(parts[1]));
  for (std::size_t index = 3; index < parts.size(); ++index) {
    const std::string_view part = parts[index];
    if (part == "dealloc") {
      ports.deallocate = 1;
    } else if (part.starts_with("copy")) {
      ports.copy = read_number<std::uint8_t>(part.substr(4));
    } else {
      throw bad_script("no part of a ports descriptor", part);
    }
  }
  std::vector<mach_port_name_t> array;
  if (parts[2] != "-") {
    for (const std::string_view each : split(parts[2], '+')) array.push_back(names.read(each));
  }
  ports.count = static_cast<mach_msg_size_t>(array.size());
  const vm_size_t size = array.size() * sizeof(mach_port_name_t);
  ports.address = reinterpret_cast<void*>(new_region(size, ports.deallocate));
  if (size > 0) std::memcpy(ports.address, array.data(), size);
  append(&ports, sizeof ports);
}

void message_buffer::add_descriptor(std::string_view text, const message_names& names) {
  const std::vector<std::string_view> parts = split(text, ':');
  ++descriptors_;
  if (parts[0] == "ool") return add_memory(parts);
  if (parts[0] == "oolp") return add_ports(parts, names);
  if (parts[0] == "port" && parts.size() == 3) {
    mach_msg_port_descriptor_t port{};
    port.name = names.read(parts[1]);
    port.disposition = static_cast<std::uint8_t>(read_disposition(parts[2]));
    port.type = MACH_MSG_PORT_DESCRIPTOR;
    return append(&port, sizeof port);
  }
  if (parts[0] == "gport" && parts.size() == 5) {
    mach_msg_guarded_port_descriptor_t port{};
    port.name = names.read(parts[1]);
    port.disposition = static_cast<std::uint8_t>(read_disposition(parts[2]));
    port.flags = read_number<std::uint16_t>(parts[3], 16);
    port.context = read_context(parts[4]);
    port.type = MACH_MSG_GUARDED_PORT_DESCRIPTOR;
    return append(&port, sizeof port);
  }
  if (parts[0].starts_with("type")) {
    mach_msg_type_descriptor_t other{};
    other.type = read_number<std::uint8_t>(parts[0].substr(4));
    return append(&other, sizeof other);
  }
  throw bad_script("no descriptor", text);
}

void message_buffer::begin_body(given_fields& given) {
  if (!given.is_complex) filled_ += sizeof(mach_msg_body_t);
  given.is_complex = true;
}

// N:<disp>
void message_buffer::set_right(std::string_view text, mach_port_name_t& name, unsigned shift,
                               const message_names& names) {
  const std::vector<std::string_view> parts = split(text, ':');
  if (parts.size() != 2) throw bad_script("a right is N:<disp>", text);
  name = names.read(parts[0]);
  *bits_of(header()) |= (read_disposition(parts[1]) & 0x1fu) << shift;
}

// Returns false for an unknown key.
bool message_buffer::read_field(std::string_view key, std::string_view value, given_fields& given,
                                const message_names& names) {
  mach_msg_header_t* const head = header();
  if (key == "opt" || key == "tr") {
    return true;
  } else if (key == "to") {
    set_right(value, head->msgh_remote_port, 0, names);
  } else if (key == "re") {
    set_right(value, head->msgh_local_port, 8, names);
  } else if (key == "vo") {
    set_right(value, head->msgh_voucher_port, 16, names);
  } else if (key == "bits") {
    *bits_of(head) |= read_number<mach_msg_bits_t>(value, 16);
  } else if (key == "id") {
    head->msgh_id = read_number<mach_msg_id_t>(value);
  } else if (key == "d") {
    begin_body(given);
    add_descriptor(value, names);
  } else if (key == "complex") {
    begin_body(given);
  } else if (key == "dcount") {
    begin_body(given);
    given.descriptor_count = read_number<std::uint32_t>(value);
  } else if (key == "body") {
    for (std::size_t digit = 0; digit + 1 < value.size(); digit += 2) {
      const auto byte = read_number<std::uint8_t>(value.substr(digit, 2), 16);
      append(&byte, sizeof byte);
    }
  } else if (key == "ssize") {
    given.send_size = value;
  } else if (key == "msgsz") {
    given.header_size = value;
  } else if (key == "rn") {
    receive_name = names.read(value);
  } else if (key == "rsize") {
    receive_size = read_number<mach_msg_size_t>(value);
  } else if (key == "prio") {
    priority = read_number<mach_msg_priority_t>(value);
  } else {
    return false;
  }
  return true;
}

void message_buffer::fill(const std::vector<std::string_view>& tokens, mach_msg_option_t option,
                          const message_names& names) {
  std::memset(bytes(), 0, used_);
  release_sent();
  descriptors_ = 0;
  filled_ = sizeof(mach_msg_header_t);
  receive_size = 4096;
  receive_name = MACH_PORT_NULL;
  priority = 0;

  given_fields given;
  for (const std::string_view token : tokens) {
    const std::size_t equals = token.find('=');
    const std::string_view key = token.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view() : token.substr(equals + 1);
    if (!read_field(key, value, given, names)) throw bad_script("no part of a message", token);
  }
  mach_msg_header_t* const head = header();
  if (given.is_complex) {
    *bits_of(head) |= MACH_MSGH_BITS_COMPLEX;
    const mach_msg_body_t body{given.descriptor_count.value_or(descriptors_)};
    std::memcpy(head + 1, &body, sizeof body);
  }
  send_size =
      given.send_size.empty() ? round_msg(filled_) : read_number<mach_msg_size_t>(given.send_size);
  // A buffer that only receives starts with size 0.
  if (option & MACH_SEND_MSG) {
    head->msgh_size =
        given.header_size.empty() ? send_size : read_number<mach_msg_size_t>(given.header_size);
  }
  used_ = filled_ + overhang;
  before_.assign(bytes(), bytes() + used_);
}

bool message_buffer::unchanged() const noexcept {
  return std::memcmp(before_.data(), bytes(), before_.size()) == 0;
}

std::string message_buffer::write_memory(const mach_msg_ool_descriptor_t& memory) {
  std::string text = " d=ool:" + std::to_string(memory.size) + ":";
  const auto* first = static_cast<const unsigned char*>(memory.address);
  if (!first) {
    text += "-";
  } else if (memory.size == 0) {
    text += "nz";
  } else {
    text += std::to_string(first[0]);
    for (mach_msg_size_t index = 0; index < memory.size; ++index) {
      if (first[index] == static_cast<unsigned char>(first[0] + index)) continue;
      text += ":CORRUPT";
      break;
    }
    received_.push_back({reinterpret_cast<vm_address_t>(first), memory.size});
  }
  text += memory.deallocate ? ":dealloc=1" : ":dealloc=0";
  if (memory.type == MACH_MSG_OOL_VOLATILE_DESCRIPTOR) text += ":type=3";
  return text;
}

std::string message_buffer::write_ports(const mach_msg_ool_ports_descriptor_t& ports,
                                        const message_names& names) {
  std::string text = " d=oolp:" + write_disposition(ports.disposition) + ":";
  const auto* array = static_cast<const mach_port_name_t*>(ports.address);
  if (ports.count == 0 || !array) text += "-";
  for (mach_msg_size_t index = 0; array && index < ports.count; ++index) {
    if (index > 0) text += "+";
    text += names.write(array[index]);
  }
  if (array && ports.count > 0) {
    received_.push_back(
        {reinterpret_cast<vm_address_t>(array), ports.count * sizeof(mach_port_name_t)});
  }
  return text + (ports.deallocate ? ":dealloc=1" : ":dealloc=0");
}

// Writes the descriptor at `at`, and moves `at` beyond it.
std::string message_buffer::write_descriptor(mach_msg_size_t& at, mach_msg_size_t end,
                                             const message_names& names) {
  const auto left = end - at;
  if (left < sizeof(mach_msg_type_descriptor_t)) {
    at = end;
    return " d=short";
  }
  const auto type = this->at<mach_msg_type_descriptor_t>(at).type;
  if (type == MACH_MSG_PORT_DESCRIPTOR) {
    const auto port = this->at<mach_msg_port_descriptor_t>(at);
    at += static_cast<mach_msg_size_t>(sizeof port);
    return " d=port:" + names.write(port.name) + ":" + write_disposition(port.disposition);
  }
  if (left < sizeof(mach_msg_ool_descriptor_t)) {
    at = end;
    return " d=short";
  }
  const mach_msg_size_t from = at;
  at += static_cast<mach_msg_size_t>(sizeof(mach_msg_ool_descriptor_t));
  switch (type) {
    case MACH_MSG_OOL_DESCRIPTOR:
    case MACH_MSG_OOL_VOLATILE_DESCRIPTOR:
      return write_memory(this->at<mach_msg_ool_descriptor_t>(from));
    case MACH_MSG_OOL_PORTS_DESCRIPTOR:
      return write_ports(this->at<mach_msg_ool_ports_descriptor_t>(from), names);
    case MACH_MSG_GUARDED_PORT_DESCRIPTOR: {
      const auto port = this->at<mach_msg_guarded_port_descriptor_t>(from);
      return " d=gport:" + names.write(port.name) + ":" + write_disposition(port.disposition) +
             ":" + write_hex(port.flags).substr(2) + ":ctx=" + write_context(port.context);
    }
    default:
      return " d=type" + std::to_string(type);
  }
}

// Writes the bytes after the descriptors, or the content of a notification.
std::string message_buffer::write_body(mach_msg_size_t at, mach_msg_size_t end,
                                       const message_names& names) const {
  const mach_msg_header_t& head = *header();
  const mach_msg_size_t size = end > at ? end - at : 0;
  const bool notifies = head.msgh_id >= MACH_NOTIFY_FIRST && head.msgh_id <= MACH_NOTIFY_LAST &&
                        MACH_MSGH_BITS_LOCAL(head.msgh_bits) == MACH_MSG_TYPE_MOVE_SEND_ONCE &&
                        head.msgh_remote_port == MACH_PORT_NULL;
  if (notifies && size == sizeof(NDR_record_t) + sizeof(natural_t)) {
    const auto word = this->at<natural_t>(at + sizeof(NDR_record_t));
    switch (head.msgh_id) {
      case MACH_NOTIFY_DEAD_NAME:
        return " notify=dead_name:" + names.write_notified(word);
      case MACH_NOTIFY_SEND_POSSIBLE:
        return " notify=send_possible:" + names.write_notified(word);
      case MACH_NOTIFY_PORT_DELETED:
        return " notify=port_deleted:" + names.write_notified(word);
      case MACH_NOTIFY_NO_SENDERS:
        return " notify=no_senders:" + std::to_string(word);
      default:
        break;
    }
  }
  if (notifies && size == 0 && head.msgh_id == MACH_NOTIFY_SEND_ONCE) return " notify=send_once";
  if (notifies && size == 0 && head.msgh_id == MACH_NOTIFY_PORT_DESTROYED) {
    return " notify=port_destroyed";
  }
  if (size == 0) return "";
  std::string text = " body=";
  char digits[9];
  if (size > 64) {
    std::uint32_t hash = 0;
    for (mach_msg_size_t index = 0; index < size; ++index) {
      hash = hash * 31 + std::to_integer<std::uint32_t>(bytes()[at + index]);
    }
    std::snprintf(digits, sizeof digits, "%08x", hash);
    return text + std::to_string(size) + "#" + digits;
  }
  for (mach_msg_size_t index = 0; index < size; ++index) {
    std::snprintf(digits, sizeof digits, "%02x", std::to_integer<unsigned>(bytes()[at + index]));
    text += digits;
  }
  return text;
}

std::string message_buffer::write_trailer(mach_msg_size_t from, const message_names& names) const {
  const auto trailer = at<mach_msg_max_trailer_t>(from);
  const mach_msg_size_t size = trailer.msgh_trailer_size;
  std::string text =
      " tr=" + std::to_string(trailer.msgh_trailer_type) + ":" + std::to_string(size);
  if (size >= sizeof(mach_msg_seqno_trailer_t)) {
    text += ":seq=" + std::to_string(trailer.msgh_seqno);
  }
  if (size >= sizeof(mach_msg_security_trailer_t)) text += names.write_user(trailer.msgh_sender);
  if (size >= sizeof(mach_msg_audit_trailer_t)) text += names.write_sender(trailer.msgh_audit);
  if (size >= sizeof(mach_msg_context_trailer_t)) {
    text += ":ctx=" + write_context(trailer.msgh_context);
  }
  if (size >= sizeof(mach_msg_mac_trailer_t)) {
    text += ":ad=" + std::to_string(trailer.msgh_ad);
  }
  return text;
}

std::string message_buffer::write(mach_msg_size_t size, bool has_trailer,
                                  const message_names& names) {
  const mach_msg_header_t head = *header();
  const mach_msg_size_t end = std::min<mach_msg_size_t>(size, capacity - overhang);
  used_ = std::max<std::size_t>(used_, end + overhang);
  std::string text = " bits=" + write_disposition(MACH_MSGH_BITS_REMOTE(head.msgh_bits)) + "/" +
                     write_disposition(MACH_MSGH_BITS_LOCAL(head.msgh_bits)) + "/" +
                     write_disposition(MACH_MSGH_BITS_VOUCHER(head.msgh_bits));
  const bool complex = MACH_MSGH_BITS_IS_COMPLEX(head.msgh_bits);
  if (complex) text += "/complex";
  if (const mach_msg_bits_t other = head.msgh_bits & ~MACH_MSGH_BITS_USER) {
    text += "/" + write_hex(other);
  }
  text += " size=" + std::to_string(head.msgh_size);
  text += " remote=" + names.write(head.msgh_remote_port);
  text += " local=" + names.write(head.msgh_local_port);
  if (head.msgh_voucher_port != MACH_PORT_NULL) {
    text += MACH_MSGH_BITS_VOUCHER(head.msgh_bits) == MACH_MSG_TYPE_PORT_NONE
                ? " voucher=raw"
                : " voucher=" + names.write(head.msgh_voucher_port);
  }
  text += " id=" + std::to_string(head.msgh_id);

  mach_msg_size_t next = sizeof head;
  if (complex && end >= sizeof(mach_msg_base_t)) {
    next = sizeof(mach_msg_base_t);
    const auto count = at<mach_msg_body_t>(sizeof head).msgh_descriptor_count;
    for (mach_msg_size_t index = 0; index < count && next < end; ++index) {
      text += write_descriptor(next, end, names);
    }
  }
  text += write_body(next, end, names);
  if (has_trailer) text += write_trailer(round_msg(end), names);
  return text;
}

}  // namespace conformance
