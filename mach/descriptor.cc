// Implements descriptor over Darwin's layouts.
#include "kedge/mach/descriptor.h"

#include <cstring>
#include <system_error>
#include <utility>

#include "kedge/mach/error.h"
#include "kedge/mach/ledger_entries.h"
#include "kedge/mach/raw_descriptor.h"
#include "kedge/mach/reference_counts.h"
#include "kedge/mach/right_in_message.h"
#include "kedge/mach/space_incarnation.h"

namespace kedge::mach {
namespace {

void release_memory(void* address, std::size_t size) noexcept {
  static_cast<void>(memory_region::adopt(address, size));
}

mach_port_name_t* names_of(const mach_msg_ool_ports_descriptor_t& array) noexcept {
  return static_cast<mach_port_name_t*>(array.address);
}

// What shows that the send rights of a descriptor are counted, in a field without a meaning.
// Whatever has arrived in it is overwritten (count_rights).
constexpr mach_msg_size_t counted_right = 1;
constexpr unsigned counted_array = 2;

bool is_counted(const mach_msg_port_descriptor_t& d) noexcept {
  return d.pad1 == counted_right;
}
bool is_counted(const mach_msg_ool_ports_descriptor_t& d) noexcept {
  return d.deallocate == counted_array;
}

// Counts all names of an array, or none of them if there is no memory.
bool count_names(std::uint32_t space, mach_port_name_t* names, std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    if (!MACH_PORT_VALID(names[i]) ||
        reference_counts::try_adopt(space, names[i], ledger::in_message))
      continue;
    while (i-- != 0) {
      if (MACH_PORT_VALID(names[i])) names[i] = reference_counts::release(space, names[i]);
    }
    return false;
  }
  return true;
}

void release_array(const mach_msg_ool_ports_descriptor_t& array, std::uint32_t space) noexcept {
  if (array.address == nullptr) return;
  const bool is_here = space == space_incarnation();
  for (std::size_t i = 0; i < array.count; ++i) {
    const mach_port_name_t name = names_of(array)[i];
    if (is_counted(array)) {
      if (MACH_PORT_VALID(name)) reference_counts::drop(space, name);
    } else if (is_here) {
      release_right_in_message(name, array.disposition);
    }
  }
  release_memory(array.address, array.count * sizeof(mach_port_name_t));
}

// An immovable receive right arrives with a guard of the kernel's choice.
void release_guarded(const mach_msg_guarded_port_descriptor_t& guarded) noexcept {
  if (!MACH_PORT_VALID(guarded.name)) return;
  mach_port_destruct(mach_task_self(), guarded.name, 0, guarded.context);
}

receive_right adopt_receive(mach_port_name_t name, mach_port_context_t guard, bool revocable,
                            const place& where) {
  if (!MACH_PORT_VALID(name)) return {};
  const auto adopt = revocable ? receive_right::adopt_revocable : receive_right::adopt;
  if (guard == 0) return adopt(name, where);
  check(mach_port_unguard(mach_task_self(), name, guard), "mach_port_unguard");
  try {
    return adopt(name, where);
  } catch (...) {
    mach_port_guard(mach_task_self(), name, guard, /*strict=*/0);
    throw;
  }
}

template <class Right>
Right adopt(mach_port_name_t name, bool, const place& where) {
  return Right::adopt(name, where);
}
template <>
send_right adopt<send_right>(mach_port_name_t name, bool counted, const place& where) {
  if (!counted || !MACH_PORT_VALID(name)) return send_right::adopt(name, where);
  ledger::record_taken(ledger::kind::send, space_incarnation(), name, where);
  return send_right::adopt_counted(name);
}
template <>
receive_right adopt<receive_right>(mach_port_name_t name, bool, const place& where) {
  return adopt_receive(name, 0, false, where);
}

}  // namespace

mach_msg_descriptor_type_t descriptor::type() const noexcept {
  if (at_ == nullptr) return MACH_MSG_PORT_DESCRIPTOR;
  return read_descriptor<mach_msg_type_descriptor_t>(at_).type;
}

std::size_t descriptor::length() const noexcept {
  return type() == MACH_MSG_PORT_DESCRIPTOR ? sizeof(mach_msg_port_descriptor_t)
                                            : sizeof(mach_msg_ool_descriptor_t);
}

descriptor::kind descriptor::what() const noexcept {
  if (at_ == nullptr) return kind::right;
  switch (type()) {
    case MACH_MSG_OOL_DESCRIPTOR:
    case MACH_MSG_OOL_VOLATILE_DESCRIPTOR:
      return kind::memory;
    case MACH_MSG_OOL_PORTS_DESCRIPTOR:
      return kind::rights;
    default:
      return kind::right;
  }
}

mach_msg_type_name_t descriptor::disposition() const noexcept {
  if (at_ == nullptr) return MACH_MSG_TYPE_PORT_NONE;
  switch (type()) {
    case MACH_MSG_PORT_DESCRIPTOR:
      return read_descriptor<mach_msg_port_descriptor_t>(at_).disposition;
    case MACH_MSG_GUARDED_PORT_DESCRIPTOR:
      return read_descriptor<mach_msg_guarded_port_descriptor_t>(at_).disposition;
    case MACH_MSG_OOL_PORTS_DESCRIPTOR:
      return read_descriptor<mach_msg_ool_ports_descriptor_t>(at_).disposition;
    default:
      return MACH_MSG_TYPE_PORT_NONE;
  }
}

std::size_t descriptor::size() const noexcept {
  if (at_ == nullptr) return 0;
  switch (what()) {
    case kind::memory:
      return read_descriptor<mach_msg_ool_descriptor_t>(at_).size;
    case kind::rights: {
      const auto array = read_descriptor<mach_msg_ool_ports_descriptor_t>(at_);
      return array.address != nullptr ? array.count : 0;
    }
    default:
      return 1;
  }
}

template <class Right>
Right descriptor::take_port(mach_msg_type_name_t disposition, const place& where) {
  if (at_ == nullptr || type() != MACH_MSG_PORT_DESCRIPTOR) return {};
  auto d = read_descriptor<mach_msg_port_descriptor_t>(at_);
  if (d.disposition != disposition) return {};
  Right right = adopt<Right>(d.name, is_counted(d), where);
  d.name = MACH_PORT_NULL;
  write_descriptor(at_, d);
  return right;
}

send_right descriptor::take_send(const place& where) {
  return take_port<send_right>(MACH_MSG_TYPE_MOVE_SEND, where);
}

send_once_right descriptor::take_send_once(const place& where) noexcept {
  return take_port<send_once_right>(MACH_MSG_TYPE_MOVE_SEND_ONCE, where);
}

receive_right descriptor::take_receive(const place& where) {
  return take_receive(false, where);
}

receive_right descriptor::take_revocable(const place& where) {
  return take_receive(true, where);
}

receive_right descriptor::take_receive(bool revocable, const place& where) {
  if (disposition() != MACH_MSG_TYPE_MOVE_RECEIVE) return {};
  if (type() == MACH_MSG_GUARDED_PORT_DESCRIPTOR) {
    auto d = read_descriptor<mach_msg_guarded_port_descriptor_t>(at_);
    receive_right right = adopt_receive(d.name, d.context, revocable, where);
    d.name = MACH_PORT_NULL;
    d.context = 0;
    write_descriptor(at_, d);
    return right;
  }
  if (type() != MACH_MSG_PORT_DESCRIPTOR) return {};
  auto d = read_descriptor<mach_msg_port_descriptor_t>(at_);
  receive_right right = adopt_receive(d.name, 0, revocable, where);
  d.name = MACH_PORT_NULL;
  write_descriptor(at_, d);
  return right;
}

any_right descriptor::take_any(const place& where) {
  if (at_ == nullptr || what() != kind::right) return {};
  if (type() == MACH_MSG_PORT_DESCRIPTOR) {
    auto d = read_descriptor<mach_msg_port_descriptor_t>(at_);
    if (d.name == MACH_PORT_DEAD) {
      d.name = MACH_PORT_NULL;
      write_descriptor(at_, d);
      return dead_name();
    }
  }
  switch (disposition()) {
    case MACH_MSG_TYPE_MOVE_SEND:
      return take_send(where);
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
      return take_send_once(where);
    case MACH_MSG_TYPE_MOVE_RECEIVE:
      return take_receive(where);
    default:
      return {};
  }
}

memory_region descriptor::take_memory() noexcept {
  if (at_ == nullptr || what() != kind::memory) return {};
  auto d = read_descriptor<mach_msg_ool_descriptor_t>(at_);
  memory_region memory = memory_region::adopt(d.address, d.size);
  d.address = nullptr;
  d.size = 0;
  write_descriptor(at_, d);
  return memory;
}

template <class Right>
std::vector<Right> descriptor::take_array(mach_msg_type_name_t disposition, const place& where) {
  std::vector<Right> rights;
  if (at_ == nullptr || type() != MACH_MSG_OOL_PORTS_DESCRIPTOR) return rights;
  auto d = read_descriptor<mach_msg_ool_ports_descriptor_t>(at_);
  if (d.disposition != disposition || d.address == nullptr) return rights;
  rights.reserve(d.count);
  for (std::size_t i = 0; i < d.count; ++i) {
    mach_port_name_t& name = names_of(d)[i];
    rights.push_back(adopt<Right>(name, is_counted(d), where));
    name = MACH_PORT_NULL;
  }
  release_memory(d.address, d.count * sizeof(mach_port_name_t));
  d.address = nullptr;
  d.count = 0;
  write_descriptor(at_, d);
  return rights;
}

std::vector<send_right> descriptor::take_send_array(const place& where) {
  return take_array<send_right>(MACH_MSG_TYPE_MOVE_SEND, where);
}
std::vector<send_once_right> descriptor::take_send_once_array(const place& where) {
  return take_array<send_once_right>(MACH_MSG_TYPE_MOVE_SEND_ONCE, where);
}
std::vector<receive_right> descriptor::take_receive_array(const place& where) {
  return take_array<receive_right>(MACH_MSG_TYPE_MOVE_RECEIVE, where);
}

bool descriptor::count_rights(std::uint32_t space, bool has_memory) noexcept {
  if (type() == MACH_MSG_PORT_DESCRIPTOR) {
    auto d = read_descriptor<mach_msg_port_descriptor_t>(at_);
    const bool counts = d.disposition == MACH_MSG_TYPE_MOVE_SEND && MACH_PORT_VALID(d.name);
    if (counts && has_memory)
      has_memory = reference_counts::try_adopt(space, d.name, ledger::in_message);
    d.pad1 = counts && has_memory ? counted_right : 0;
    write_descriptor(at_, d);
  } else if (type() == MACH_MSG_OOL_PORTS_DESCRIPTOR) {
    auto d = read_descriptor<mach_msg_ool_ports_descriptor_t>(at_);
    const bool counts = d.disposition == MACH_MSG_TYPE_MOVE_SEND && d.address != nullptr;
    if (counts && has_memory) has_memory = count_names(space, names_of(d), d.count);
    d.deallocate = counts && has_memory ? counted_array : 1;
    write_descriptor(at_, d);
  }
  return has_memory;
}

void descriptor::release(std::uint32_t space) noexcept {
  const bool is_here = space == space_incarnation();
  switch (type()) {
    case MACH_MSG_OOL_DESCRIPTOR:
    case MACH_MSG_OOL_VOLATILE_DESCRIPTOR:
      static_cast<void>(take_memory());
      return;
    case MACH_MSG_OOL_PORTS_DESCRIPTOR: {
      auto d = read_descriptor<mach_msg_ool_ports_descriptor_t>(at_);
      release_array(d, space);
      d.address = nullptr;
      d.count = 0;
      return write_descriptor(at_, d);
    }
    case MACH_MSG_GUARDED_PORT_DESCRIPTOR: {
      auto d = read_descriptor<mach_msg_guarded_port_descriptor_t>(at_);
      if (is_here) release_guarded(d);
      d.name = MACH_PORT_NULL;
      d.context = 0;
      return write_descriptor(at_, d);
    }
    case MACH_MSG_PORT_DESCRIPTOR: {
      auto d = read_descriptor<mach_msg_port_descriptor_t>(at_);
      if (is_counted(d)) {
        if (d.name != MACH_PORT_NULL) reference_counts::drop(space, d.name);
      } else if (is_here) {
        release_right_in_message(d.name, d.disposition);
      }
      d.name = MACH_PORT_NULL;
      return write_descriptor(at_, d);
    }
    default:
      return;
  }
}

descriptor_list::descriptor_list(std::byte* first, std::size_t bytes, std::size_t claimed) noexcept
    : first_(first) {
  while (count_ < claimed && bytes - bytes_ >= sizeof(mach_msg_port_descriptor_t)) {
    const std::size_t length = descriptor(first + bytes_).length();
    if (length > bytes - bytes_) break;
    stride_ = count_ == 0 || stride_ == length ? length : 0;
    bytes_ += length;
    ++count_;
  }
}

descriptor descriptor_list::operator[](std::size_t i) const noexcept {
  if (i >= count_) return {};
  if (stride_ != 0) return descriptor(first_ + i * stride_);
  descriptor d(first_);
  while (i-- != 0) d = descriptor(d.at_ + d.length());
  return d;
}

void descriptor_list::release(std::uint32_t space) noexcept {
  for (descriptor& d : *this) d.release(space);
}

void descriptor_list::count_rights(std::uint32_t space) noexcept {
  bool has_memory = true;
  for (descriptor& d : *this) has_memory = d.count_rights(space, has_memory);
}

}  // namespace kedge::mach
