// hostile_sender: sends whatever it likes to one port: arbitrary headers, ids, descriptors, rights
// and memory. take_apart(): takes such a message apart as a service with a fault might.
//
// A Source says what it likes: below(bound), word() and one_in(times). It is drawn from a seed, or
// is the input of a fuzzer.
#pragma once

#include <mach/mach.h>
#include <mach/notify.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/received.h"
#include "kedge/mach/space.h"

namespace kedge::mach {

constexpr mach_msg_id_t hostile_question = 4711;

// Lives in a space of its own. Whatever comes back, or is not taken, goes when that ends.
template <class Source>
class hostile_sender {
 public:
  // `target` is a send right of the space `own`.
  hostile_sender(space& own, mach_port_name_t target) : own_(own), target_(target) {
    const scoped_space inside(own_);
    // A descriptor with a wrong guard would end the task.
    kernel::set_guard_behaviour(kernel::task_of_thread(), kernel::guard_behaviour::record);
    make_names();
  }

  void send(Source& source) {
    const scoped_space inside(own_);
    replenish(source);
    bytes_.clear();
    mach_msg_header_t header{};
    const bool complex = source.one_in(2);
    // Most messages can arrive: a message that the kernel refuses shows nothing.
    const mach_msg_type_name_t to =
        source.one_in(30) ? any_disposition(source) : mach_msg_type_name_t{MACH_MSG_TYPE_COPY_SEND};
    const mach_msg_type_name_t reply = source.one_in(3) ? 0u : disposition(source);
    header.msgh_bits =
        MACH_MSGH_BITS_SET(to, reply, source.one_in(30) ? any_disposition(source) : 0u,
                           complex ? MACH_MSGH_BITS_COMPLEX : 0u);
    if (source.one_in(50)) header.msgh_bits |= source.word() & 0x7fff0000u;
    header.msgh_remote_port = target_;
    header.msgh_local_port = reply != 0 ? name(source) : mach_port_name_t{MACH_PORT_NULL};
    header.msgh_id = id(source);
    put(header);
    if (complex) put_descriptors(source);
    const std::uint32_t words = source.below(source.one_in(20) ? 20'000 : 40);
    for (std::uint32_t i = 0; i < words; ++i) put(source.word());
    if (source.one_in(30))
      bytes_.resize(source.below(2 * static_cast<std::uint32_t>(bytes_.size())));
    const std::size_t size = bytes_.size();
    bytes_.resize(std::max(size, sizeof header));
    mach_msg(reinterpret_cast<mach_msg_header_t*>(bytes_.data()), MACH_SEND_MSG | MACH_SEND_TIMEOUT,
             static_cast<mach_msg_size_t>(size), 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
  }

 private:
  // A port with some send rights, for messages to use up.
  static mach_port_name_t make_port() {
    mach_port_name_t made = MACH_PORT_NULL;
    if (mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &made) != KERN_SUCCESS) {
      throw std::runtime_error("the hostile sender has no port");
    }
    for (int i = 0; i < 4; ++i) {
      mach_port_insert_right(mach_task_self(), made, made, MACH_MSG_TYPE_MAKE_SEND);
    }
    return made;
  }
  static mach_port_name_t make_once(mach_port_name_t port) {
    mach_port_name_t once = MACH_PORT_NULL;
    mach_msg_type_name_t type = 0;
    mach_port_extract_right(mach_task_self(), port, MACH_MSG_TYPE_MAKE_SEND_ONCE, &once, &type);
    return once;
  }
  static void fill(mach_port_name_t port) {
    mach_msg_return_t code = MACH_MSG_SUCCESS;
    while (code == MACH_MSG_SUCCESS) {
      mach_msg_header_t filling{};
      filling.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0u);
      filling.msgh_remote_port = port;
      code = mach_msg(&filling, MACH_SEND_MSG | MACH_SEND_TIMEOUT, sizeof filling, 0,
                      MACH_PORT_NULL, 0, MACH_PORT_NULL);
    }
  }
  static void request(mach_port_name_t port, mach_msg_id_t what, mach_port_name_t notify) {
    mach_port_t previous = MACH_PORT_NULL;
    mach_port_request_notification(mach_task_self(), port, what, 0, notify,
                                   MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
  }

  // A name of each kind.
  void make_names() {
    const mach_port_name_t plain = make_port();
    const mach_port_name_t full = make_port();
    const mach_port_name_t dead = make_port();
    const mach_port_name_t revocable = make_port();
    const mach_port_name_t watched = make_port();
    fill(full);
    mach_port_mod_refs(mach_task_self(), dead, MACH_PORT_RIGHT_RECEIVE, -1);
    request(revocable, MACH_NOTIFY_PORT_DESTROYED, plain);
    request(watched, MACH_NOTIFY_NO_SENDERS, plain);
    mach_port_name_t set = MACH_PORT_NULL;
    mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, &set);
    mach_port_insert_member(mach_task_self(), plain, set);
    names_.insert(names_.end(), {plain, full, dead, revocable, watched, set, make_once(plain),
                                 make_once(full), make_port(), make_port()});
  }
  // Keeps names whose rights no message has taken.
  void replenish(Source& source) {
    if (names_.size() > 50) names_.erase(names_.begin(), names_.begin() + 10);
    if (source.one_in(30)) make_names();
    const mach_port_name_t made = make_port();
    if (source.one_in(4)) request(made, MACH_NOTIFY_PORT_DESTROYED, made);
    if (source.one_in(4)) mach_port_mod_refs(mach_task_self(), made, MACH_PORT_RIGHT_RECEIVE, -1);
    names_.push_back(made);
  }

  mach_port_name_t name(Source& source) {
    switch (source.below(12)) {
      case 0:
        return MACH_PORT_NULL;
      case 1:
        return MACH_PORT_DEAD;
      case 2:
        return target_;
      case 3:
        return source.word();
      case 4:
        return mach_task_self();
      default:
        return names_[source.below(static_cast<std::uint32_t>(names_.size()))];
    }
  }
  static mach_msg_type_name_t any_disposition(Source& source) { return source.below(32); }
  static mach_msg_type_name_t disposition(Source& source) {
    if (source.one_in(20)) return any_disposition(source);
    return MACH_MSG_TYPE_MOVE_RECEIVE + source.below(6);
  }
  static mach_msg_id_t id(Source& source) {
    if (source.one_in(3)) return MACH_NOTIFY_FIRST + static_cast<mach_msg_id_t>(source.below(16));
    return source.one_in(2) ? hostile_question : static_cast<mach_msg_id_t>(source.below(0x1000));
  }

  template <class T>
  void put(const T& value) {
    const auto* const from = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), from, from + sizeof value);
  }

  void put_descriptors(Source& source) {
    const bool are_many = source.one_in(60);
    const std::uint32_t count = are_many ? 2000 : source.below(6);
    put(mach_msg_body_t{source.one_in(40) ? source.word() : count});
    for (std::uint32_t i = 0; i < count; ++i) are_many ? put_right(source) : put_descriptor(source);
  }
  void put_descriptor(Source& source) {
    switch (source.below(source.one_in(20) ? 8 : 6)) {
      case 0:
      case 1:
        return put_right(source);
      case 2:
        return put_memory(source, MACH_MSG_OOL_DESCRIPTOR);
      case 3:
        return put_array(source);
      case 4:
        return put_memory(source, MACH_MSG_OOL_VOLATILE_DESCRIPTOR);
      case 5:
        return put_guarded(source);
      default:
        for (int i = 0; i < 3; ++i) put(source.word());
    }
  }
  void put_right(Source& source) {
    mach_msg_port_descriptor_t d{};
    d.name = name(source);
    d.pad1 = source.word();
    d.pad2 = source.word() & 0xffff;
    d.disposition = disposition(source) & 0xff;
    d.type = MACH_MSG_PORT_DESCRIPTOR;
    put(d);
  }
  void put_guarded(Source& source) {
    mach_msg_guarded_port_descriptor_t d{};
    d.name = name(source);
    d.flags = source.below(256) & 0xffff;
    d.context = source.one_in(4) ? source.word() : 0;
    d.disposition = source.one_in(8) ? disposition(source) & 0xff : MACH_MSG_TYPE_MOVE_RECEIVE;
    d.type = MACH_MSG_GUARDED_PORT_DESCRIPTOR;
    put(d);
  }
  // Never gives memory away: what a refused message leaves here would look like a leak there.
  void put_memory(Source& source, mach_msg_descriptor_type_t type) {
    mach_msg_ool_descriptor_t d{};
    d.size = source.one_in(8) ? 0 : 1 + source.below(60'000);
    d.address = zeros_.data() + source.below(5'000);
    if (source.one_in(50)) d.address = reinterpret_cast<void*>(std::uintptr_t{source.word()} << 20);
    d.copy = (source.one_in(2) ? MACH_MSG_PHYSICAL_COPY : MACH_MSG_VIRTUAL_COPY) & 0xff;
    if (source.one_in(30)) d.copy = source.below(256) & 0xff;
    d.type = type & 0xff;
    put(d);
  }
  void put_array(Source& source) {
    mach_msg_ool_ports_descriptor_t d{};
    d.count = source.below(static_cast<std::uint32_t>(array_.size()) + 1);
    for (std::uint32_t i = 0; i < d.count; ++i) array_[i] = name(source);
    d.address = array_.data();
    d.copy = MACH_MSG_PHYSICAL_COPY;
    d.disposition = disposition(source) & 0xff;
    d.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
    put(d);
  }

  space& own_;
  const mach_port_name_t target_;
  std::vector<mach_port_name_t> names_;
  std::vector<std::byte> bytes_;
  std::array<mach_port_name_t, 20> array_{};
  std::vector<std::byte> zeros_ = std::vector<std::byte>(70'000);
};

// Takes each descriptor as the kind that `choose(8)` says, which may not be its own. Returns false
// if memory had other bytes than hostile_sender sends.
template <class Choose>
bool take_apart(received& m, Choose choose) {
  bool is_as_sent = true;
  for (auto& d : m.descriptors()) {
    try {
      switch (choose(8)) {
        case 0:
          static_cast<void>(d.take_send());
          break;
        case 1:
          static_cast<void>(d.take_send_once());
          break;
        case 2:
          static_cast<void>(d.take_receive());
          break;
        case 3:
          static_cast<void>(d.take_send_array());
          break;
        case 4:
          static_cast<void>(d.take_receive_array());
          break;
        case 5:
          // Read to its end: the memory is there.
          if (const memory_region memory = d.take_memory()) {
            for (const std::byte each : memory.bytes())
              is_as_sent = is_as_sent && each == std::byte{};
          }
          break;
        default:
          break;
      }
    } catch (const std::system_error&) {
      // A receive right that its sender can take back.
    }
  }
  return is_as_sent;
}

}  // namespace kedge::mach
