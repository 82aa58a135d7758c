// A sender without manners against a receiving loop: arbitrary headers, descriptors, rights, memory
// and ids, from seeds. The service answers a well-formed client all the while, and is left with no
// right and no memory.
#include <doctest/doctest.h>
#include <mach/mach.h>
#include <mach/notify.h>
#include <mach/vm_map.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "kedge/mach/call.h"
#include "kedge/mach/receive.h"
#include "kedge/mach/reply.h"
#include "kedge/mach/send.h"
#include "kedge/mach/space.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "space_names.h"
#include "tests/runtime/drain.h"

namespace kedge::mach {
namespace {

constexpr mach_msg_id_t question = 4711;
constexpr mach_msg_id_t goodbye = 4712;

using random_source = std::mt19937;

std::uint32_t below(random_source& random, std::uint32_t bound) {
  return static_cast<std::uint32_t>(random() % bound);
}

// Sends what it likes to one port. All in a space of its own.
class hostile_sender {
 public:
  hostile_sender(space& own, mach_port_name_t target, std::uint32_t seed)
      : own_(own), target_(target), random_(seed) {}

  void send_something() {
    const scoped_space inside(own_);
    replenish();
    at_ = 0;
    mach_msg_header_t header{};
    const bool complex = one_in(2);
    // Most messages can arrive: a message that the kernel refuses shows nothing.
    header.msgh_bits = MACH_MSGH_BITS_SET(
        one_in(30) ? any_disposition() : mach_msg_type_name_t{MACH_MSG_TYPE_COPY_SEND},
        one_in(3) ? 0u : likely_disposition(), one_in(30) ? any_disposition() : 0u,
        complex      ? MACH_MSGH_BITS_COMPLEX
        : one_in(50) ? random_() & 0x7fff0000u
                     : 0u);
    header.msgh_remote_port = target_;
    header.msgh_local_port = MACH_MSGH_BITS_LOCAL(header.msgh_bits) != 0 ? any_name() : 0u;
    header.msgh_id = any_id();
    put(header);
    if (complex) put_descriptors();
    const std::uint32_t words = one_in(20) ? below(random_, 20'000) : below(random_, 40);
    for (std::uint32_t i = 0; i < words; ++i) put(static_cast<std::uint32_t>(random_()));
    std::size_t size = at_;
    if (one_in(40)) size = below(random_, static_cast<std::uint32_t>(at_) + 1);
    mach_msg(reinterpret_cast<mach_msg_header_t*>(bytes_.data()), MACH_SEND_MSG | MACH_SEND_TIMEOUT,
             static_cast<mach_msg_size_t>(size), 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
    // Whatever came back, or was not taken, goes when the space ends.
  }

 private:
  bool one_in(std::uint32_t n) { return below(random_, n) == 0; }

  template <class T>
  void put(const T& value) {
    if (bytes_.size() < at_ + sizeof value) bytes_.resize(2 * (at_ + sizeof value));
    std::memcpy(bytes_.data() + at_, &value, sizeof value);
    at_ += sizeof value;
  }

  // Keeps some names of each kind: receive rights with send rights, full ones, dead ones.
  void replenish() {
    if (names_.size() > 40) names_.erase(names_.begin(), names_.begin() + 10);
    mach_port_name_t name = MACH_PORT_NULL;
    if (mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &name) != KERN_SUCCESS) {
      std::abort();
    }
    for (int i = 0; i < 4; ++i) {
      mach_port_insert_right(mach_task_self(), name, name, MACH_MSG_TYPE_MAKE_SEND);
    }
    if (one_in(4)) {
      mach_port_t previous = MACH_PORT_NULL;
      mach_port_request_notification(mach_task_self(), name, MACH_NOTIFY_PORT_DESTROYED, 0, name,
                                     MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous);
    }
    if (one_in(4)) mach_port_mod_refs(mach_task_self(), name, MACH_PORT_RIGHT_RECEIVE, -1);
    names_.push_back(name);
  }

  mach_port_name_t any_name() {
    switch (below(random_, 12)) {
      case 0:
        return MACH_PORT_NULL;
      case 1:
        return MACH_PORT_DEAD;
      case 2:
        return target_;
      case 3:
        return static_cast<mach_port_name_t>(random_());
      case 4:
        return mach_task_self();
      default:
        return names_[below(random_, static_cast<std::uint32_t>(names_.size()))];
    }
  }
  mach_msg_type_name_t any_disposition() { return below(random_, 32); }
  mach_msg_type_name_t likely_disposition() {
    return MACH_MSG_TYPE_MOVE_RECEIVE + below(random_, 6);
  }
  mach_msg_id_t any_id() {
    if (one_in(3)) return MACH_NOTIFY_FIRST + static_cast<mach_msg_id_t>(below(random_, 16));
    return one_in(2) ? question : static_cast<mach_msg_id_t>(random_() & 0xfff);
  }

  void put_descriptors() {
    std::uint32_t count = below(random_, 6);
    if (one_in(60)) count = 2000;
    const std::uint32_t claimed = one_in(40) ? static_cast<std::uint32_t>(random_()) : count;
    put(mach_msg_body_t{claimed});
    const bool alike = count > 100;
    for (std::uint32_t i = 0; i < count; ++i) {
      switch (alike ? 0 : below(random_, one_in(20) ? 8 : 5)) {
        case 0:
        case 1:
          put_right();
          break;
        case 2:
          put_memory(MACH_MSG_OOL_DESCRIPTOR);
          break;
        case 3:
          put_array();
          break;
        case 4:
          put_memory(MACH_MSG_OOL_VOLATILE_DESCRIPTOR);
          break;
        default:
          put(std::array<std::uint32_t, 3>{random_word(), random_word(), random_word()});
      }
    }
  }
  std::uint32_t random_word() { return static_cast<std::uint32_t>(random_()); }

  void put_right() {
    mach_msg_port_descriptor_t d{};
    d.name = any_name();
    d.pad1 = random_word();
    d.pad2 = random_word() & 0xffff;
    d.disposition = (one_in(20) ? any_disposition() : likely_disposition()) & 0xff;
    d.type = MACH_MSG_PORT_DESCRIPTOR;
    put(d);
  }
  // Never gives memory away: what a refused message leaves here would look like a leak there.
  void put_memory(mach_msg_descriptor_type_t type) {
    mach_msg_ool_descriptor_t d{};
    d.size = one_in(8) ? 0 : 1 + below(random_, 60'000);
    d.address = zeros_.data() + below(random_, 5'000);
    if (one_in(50)) d.address = reinterpret_cast<void*>(std::uintptr_t{random_word()} << 20);
    d.copy = (one_in(2) ? MACH_MSG_PHYSICAL_COPY : MACH_MSG_VIRTUAL_COPY) & 0xff;
    d.type = type & 0xff;
    put(d);
  }
  void put_array() {
    mach_msg_ool_ports_descriptor_t d{};
    for (mach_port_name_t& name : array_) name = any_name();
    d.address = array_.data();
    d.count = below(random_, static_cast<std::uint32_t>(array_.size()) + 1);
    d.copy = MACH_MSG_PHYSICAL_COPY;
    d.disposition = likely_disposition() & 0xff;
    d.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
    put(d);
  }

  space& own_;
  const mach_port_name_t target_;
  random_source random_;
  std::vector<mach_port_name_t> names_;
  std::vector<std::byte> bytes_ = std::vector<std::byte>(4096);
  std::size_t at_ = 0;
  std::array<mach_port_name_t, 20> array_{};
  std::vector<std::byte> zeros_ = std::vector<std::byte>(70'000);
};

// Takes a message apart in a way that depends on the seed, as a service with a fault might.
void read_something(received& m, random_source& random) {
  static_cast<void>(m.read<std::uint64_t>(below(random, 100)));
  static_cast<void>(m.text());
  message_reader reader = m.reader();
  while (reader.read<std::uint32_t>()) {
    if (below(random, 4) == 0 && !reader.counted()) break;
  }
  for (auto& d : m.descriptors()) {
    try {
      switch (below(random, 8)) {
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
            unsigned sum = 0;
            for (const std::byte b : memory.bytes()) sum += std::to_integer<unsigned>(b);
            CHECK(sum == 0);
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

task<> serve(receive_right requests, std::uint32_t seed, int& answered) {
  random_source random(seed);
  for (;;) {
    result<received> next = co_await requests.receive();
    if (!next) co_return;  // a hostile message must not cause this: `answered` tells
    received& m = *next;
    if (m.id() == goodbye) co_return;
    const auto number = m.read<std::uint32_t>();
    if (m.id() == question && number == 7u && m.rights() == 0) ++answered;
    read_something(m, random);
    static_cast<void>(reply(m, message(m.id(), std::uint32_t{8})));
  }
}

task<> ask(const send_right& service, int& replies) {
  const auto r = co_await call(service, message(question, std::uint32_t{7}));
  if (r && r->read<std::uint32_t>() == 8u) ++replies;
}

// Of the whole process, in units of the kernel's choice.
std::uint64_t region_count() {
  std::uint64_t count = 0;
  vm_address_t at = 0;
  for (;;) {
    vm_size_t size = 0;
    vm_region_basic_info_data_64_t info{};
    mach_msg_type_number_t words = VM_REGION_BASIC_INFO_COUNT_64;
    mach_port_t object = MACH_PORT_NULL;
    if (vm_region_64(mach_task_self(), &at, &size, VM_REGION_BASIC_INFO_64,
                     reinterpret_cast<vm_region_info_t>(&info), &words, &object) != KERN_SUCCESS) {
      return count;
    }
    ++count;
    at += size;
  }
}

// On Darwin a process is one task, and the sender would destroy the service's rights.
const auto several_tasks = doctest::skip(!kernel::has_many_tasks());

}  // namespace

TEST_CASE("no message ends a service, keeps it from its clients, or leaves anything behind" *
          several_tasks) {
  constexpr std::uint32_t runs = 20;
  constexpr int messages = 400;
  for (std::uint32_t seed = 1; seed <= runs; ++seed) {
    CAPTURE(seed);
    space of_service;
    const scoped_space inside(of_service);
    const std::size_t before = names_in_space();
    {
      loop l;
      receive_right requests = receive_right::make();
      const send_right to_service = requests.make_send();
      std::optional<space> of_sender(std::in_place);
      hostile_sender sender(*of_sender, of_sender->give(requests.make_send()), seed);
      int answered = 0, replies = 0, asked = 0;
      l.spawn(serve(std::move(requests), seed, answered));
      for (int i = 0; i < messages; ++i) {
        sender.send_something();
        if (i % 20 == 0) {
          l.spawn(ask(to_service, replies));
          ++asked;
        }
        l.poll();
      }
      settle(l);
      CHECK(replies == asked);
      CHECK(answered >= asked);
      l.spawn([](const send_right& to) -> task<> {
        static_cast<void>(co_await send(to, message(goodbye)));
      }(to_service));
      settle(l);
      CHECK(l.size() == 0);
      of_sender.reset();
    }
    CHECK(names_in_space() == before);
  }
}

TEST_CASE("hostile messages that are dropped unread leave no memory behind" * several_tasks) {
  space of_service;
  const scoped_space inside(of_service);
  const receive_right requests = receive_right::make(1000);
  std::optional<std::uint64_t> regions;
  for (std::uint32_t seed = 100; seed < 110; ++seed) {
    {
      space of_sender;
      hostile_sender sender(of_sender, of_sender.give(requests.make_send()), seed);
      for (int i = 0; i < 300; ++i) sender.send_something();
    }
    loop l;
    l.run([](const receive_right& port) -> task<> {
      while (port.status().mps_msgcount != 0) static_cast<void>(co_await port.receive());
    }(requests));
    // The first round makes what is kept: blocks of the recycler, the loop's own.
    if (!regions) regions = region_count();
  }
  CAPTURE(*regions);
  CHECK(region_count() <= *regions + 20);
}

}  // namespace kedge::mach
