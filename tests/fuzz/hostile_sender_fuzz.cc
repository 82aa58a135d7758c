// A fuzz target: a sender whose input says what it sends to a service of the Mach library, header,
// descriptors, rights and memory included. The service must answer its well-formed clients, release
// no right twice, and be left with no right.
#include <mach/mach.h>
#include <mach/notify.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "byte_source.h"
#include "kedge/mach/call.h"
#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

namespace kedge::mach {
namespace {

using fuzz::byte_source;
using fuzz::require;

constexpr mach_msg_id_t question = 4711;
constexpr std::size_t most_messages = 32;
constexpr std::uint32_t most_in_array = 20;

std::uint32_t names_here() {
  ipc_info_space_basic_t info{};
  require(mach_port_space_basic_info(mach_task_self(), &info) == KERN_SUCCESS, "no space info");
  return info.iisb_table_inuse;
}

// Builds messages in a space of its own, and sends them.
class sender {
 public:
  sender(space& own, mach_port_name_t target) : own_(own), target_(target) {
    const scoped_space inside(own_);
    // A descriptor with a wrong guard would end the task.
    kernel::set_guard_behaviour(kernel::task_of_thread(), kernel::guard_behaviour::record);
    make_names();
  }

  void send(byte_source& input) {
    const scoped_space inside(own_);
    bytes_.clear();
    mach_msg_header_t header{};
    const bool complex = input.below(2) != 0;
    const mach_msg_type_name_t to =
        input.one_in(16) ? input.below(32) : mach_msg_type_name_t{MACH_MSG_TYPE_COPY_SEND};
    const mach_msg_type_name_t reply = input.one_in(2) ? disposition(input) : 0;
    header.msgh_bits = MACH_MSGH_BITS_SET(to, reply, input.one_in(32) ? input.below(32) : 0u,
                                          complex ? MACH_MSGH_BITS_COMPLEX : 0u);
    if (input.one_in(32)) header.msgh_bits |= input.word() & 0x7fff0000u;
    header.msgh_remote_port = target_;
    header.msgh_local_port = reply != 0 ? name(input) : mach_port_name_t{MACH_PORT_NULL};
    header.msgh_id =
        input.one_in(2) ? MACH_NOTIFY_FIRST + static_cast<int>(input.below(16)) : question;
    put(header);
    if (complex) put_descriptors(input);
    const std::span<const std::uint8_t> body = input.take(input.byte());
    bytes_.insert(bytes_.end(), body.begin(), body.end());
    bytes_.resize((bytes_.size() + 3) / 4 * 4);
    std::size_t size = bytes_.size();
    if (input.one_in(16)) size = input.byte() * 4u;
    if (size > bytes_.size()) bytes_.resize(size);
    mach_msg(reinterpret_cast<mach_msg_header_t*>(bytes_.data()), MACH_SEND_MSG | MACH_SEND_TIMEOUT,
             static_cast<mach_msg_size_t>(size), 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
    // Whatever came back, or was not taken, goes when the space ends.
  }

 private:
  static mach_port_name_t make_port() {
    mach_port_name_t made = MACH_PORT_NULL;
    require(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &made) == KERN_SUCCESS,
            "no port");
    for (int i = 0; i < 3; ++i) {
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

  // A name of each kind, which messages use up.
  void make_names() {
    names_ = {MACH_PORT_NULL, MACH_PORT_DEAD, target_, mach_task_self(), 0x00fff703};
    const mach_port_name_t plain = make_port(), full = make_port(), dead = make_port(),
                           revocable = make_port(), watched = make_port();
    mach_msg_header_t filling{};
    filling.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0u);
    filling.msgh_remote_port = full;
    while (mach_msg(&filling, MACH_SEND_MSG | MACH_SEND_TIMEOUT, sizeof filling, 0, MACH_PORT_NULL,
                    0, MACH_PORT_NULL) == MACH_MSG_SUCCESS) {
      filling.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0u);
    }
    mach_port_mod_refs(mach_task_self(), dead, MACH_PORT_RIGHT_RECEIVE, -1);
    mach_port_t previous = MACH_PORT_NULL;
    mach_port_request_notification(mach_task_self(), revocable, MACH_NOTIFY_PORT_DESTROYED, 0,
                                   plain, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
    mach_port_request_notification(mach_task_self(), watched, MACH_NOTIFY_NO_SENDERS, 0, plain,
                                   MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
    mach_port_name_t set = MACH_PORT_NULL;
    mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, &set);
    mach_port_insert_member(mach_task_self(), plain, set);
    names_.insert(names_.end(), {plain, full, dead, revocable, watched, set, make_once(plain),
                                 make_once(full), make_port(), make_port()});
  }

  mach_port_name_t name(byte_source& input) {
    if (input.one_in(64)) make_names();
    return input.one_in(64) ? input.word() : names_[input.byte() % names_.size()];
  }
  static mach_msg_type_name_t disposition(byte_source& input) {
    return input.one_in(16) ? input.below(32) : MACH_MSG_TYPE_MOVE_RECEIVE + input.below(6);
  }

  template <class T>
  void put(const T& value) {
    const auto* const from = reinterpret_cast<const std::uint8_t*>(&value);
    bytes_.insert(bytes_.end(), from, from + sizeof value);
  }

  void put_descriptors(byte_source& input) {
    const std::uint32_t count = input.one_in(32) ? input.byte() : input.below(6);
    put(mach_msg_body_t{input.one_in(16) ? input.word() : count});
    for (std::uint32_t i = 0; i < count; ++i) put_descriptor(input);
  }
  void put_descriptor(byte_source& input) {
    switch (input.below(8)) {
      case 0:
      case 1:
      case 2: {
        mach_msg_port_descriptor_t d{};
        d.name = name(input);
        d.pad1 = input.byte();
        d.disposition = disposition(input) & 0xff;
        d.type = MACH_MSG_PORT_DESCRIPTOR;
        return put(d);
      }
      case 3:
        return put_memory(input, MACH_MSG_OOL_DESCRIPTOR);
      case 4:
        return put_memory(input, MACH_MSG_OOL_VOLATILE_DESCRIPTOR);
      case 5:
        return put_array(input);
      case 6: {
        mach_msg_guarded_port_descriptor_t d{};
        d.name = name(input);
        d.flags = input.byte() & 0xffff;
        d.context = input.one_in(4) ? input.word() : 0;
        d.disposition = input.one_in(8) ? disposition(input) & 0xff : MACH_MSG_TYPE_MOVE_RECEIVE;
        d.type = MACH_MSG_GUARDED_PORT_DESCRIPTOR;
        return put(d);
      }
      default:
        for (int i = 0; i < 3; ++i) put(input.word());
    }
  }
  // Never gives memory away: what a refused message leaves would look like a leak.
  void put_memory(byte_source& input, mach_msg_descriptor_type_t type) {
    mach_msg_ool_descriptor_t d{};
    d.size = input.byte() * 64u;
    d.address = memory_.data() + input.byte();
    if (input.one_in(32)) d.address = reinterpret_cast<void*>(std::uintptr_t{input.word()} << 16);
    d.copy = input.one_in(32) ? input.byte() : input.below(2) & 0xff;
    d.type = type & 0xff;
    put(d);
  }
  void put_array(byte_source& input) {
    mach_msg_ool_ports_descriptor_t d{};
    d.count = input.below(most_in_array + 1);
    for (std::uint32_t i = 0; i < d.count; ++i) array_[i] = name(input);
    d.address = array_.data();
    d.copy = MACH_MSG_PHYSICAL_COPY;
    d.disposition = disposition(input) & 0xff;
    d.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
    put(d);
  }

  space& own_;
  const mach_port_name_t target_;
  std::vector<mach_port_name_t> names_;
  std::vector<std::uint8_t> bytes_;
  std::array<mach_port_name_t, most_in_array> array_{};
  std::array<std::byte, 0x4200> memory_{};
};

void read_to_the_end(received& m) {
  static_cast<void>(m.text());
  message_reader reader = m.reader();
  while (reader.counted()) {
  }
}

// Takes the descriptors out in a way that depends on the message.
void take_apart(received& m) {
  unsigned turn = static_cast<unsigned>(m.id());
  for (auto& d : m.descriptors()) {
    try {
      switch (++turn % 7) {
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
          if (const memory_region memory = d.take_memory()) {
            for (const std::byte each : memory.bytes())
              require(each == std::byte{0}, "other bytes");
          }
          break;
        default:
          break;
      }
    } catch (const std::system_error&) {
      // A receive right that its sender can take back.
    }
  }
}

task<> serve(receive_right requests) {
  for (;;) {
    result<received> next = co_await requests.receive();
    require(next.has_value(), "a message has ended the service");
    read_to_the_end(*next);
    take_apart(*next);
    static_cast<void>(reply(*next, message(next->id(), std::uint32_t{8})));
  }
}

task<> ask(send_right service, bool& answered) {
  const auto r = co_await call(service, message(question, std::uint32_t{7}));
  answered = r && r->read<std::uint32_t>() == 8u;
}

void settle(loop& l) {
  while (l.poll()) {
  }
}

void play(byte_source input) {
  space of_service;
  const scoped_space inside(of_service);
  const kernel::task service = kernel::task_of_thread();
  kernel::set_guard_behaviour(service, kernel::guard_behaviour::record);
  const std::uint32_t before = names_here();
  {
    loop l;
    receive_right requests = receive_right::make();
    const send_right to_service = requests.make_send();
    std::optional<space> of_sender(std::in_place);
    sender hostile(*of_sender, of_sender->give(requests.make_send()));
    l.spawn(serve(std::move(requests)));
    for (std::size_t i = 0; i < most_messages && !input.empty(); ++i) {
      hostile.send(input);
      settle(l);
    }
    bool answered = false;
    l.spawn(ask(to_service, answered));
    settle(l);
    require(answered, "a client has no answer");
    of_sender.reset();
    settle(l);
  }
  require(names_here() == before, "the service has other names than before");
  require(kernel::take_guard_exceptions(service).empty(), "a right was released twice");
}

}  // namespace
}  // namespace kedge::mach

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // On Darwin a process is one task, and the sender would destroy the service's rights.
  if (kedge::mach::kernel::has_many_tasks()) kedge::mach::play(fuzz::byte_source({data, size}));
  return 0;
}
