// Fuzzes mach_msg: random messages, with random changes, and random arguments. Every call must
// return, touch nothing beyond the buffers, and in the end nothing may be left in the kernel.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <mach/mach_vm.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "random_draw.h"
#include "soak.h"
#include "test_message.h"

using namespace test;

namespace {

using namespace kedge::mach::kernel;

constexpr std::size_t room = 64 * 1024;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool is_sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool is_sanitized = true;
#else
constexpr bool is_sanitized = false;
#endif
#else
constexpr bool is_sanitized = false;
#endif

// Memory between two pages that cannot be read or written.
class fenced {
 public:
  fenced() {
    page_ = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* const at = ::mmap(nullptr, room + 2 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
    REQUIRE(at != MAP_FAILED);
    start_ = static_cast<unsigned char*>(at) + page_;
    REQUIRE(::mprotect(start_, room, PROT_READ | PROT_WRITE) == 0);
  }
  ~fenced() { ::munmap(start_ - page_, room + 2 * page_); }
  fenced(const fenced&) = delete;
  fenced& operator=(const fenced&) = delete;

  // The last `size` bytes before the fence, rounded up to a multiple of four.
  unsigned char* last(std::size_t size) const { return start_ + room - (size + 3) / 4 * 4; }
  unsigned char* start() const { return start_; }
  unsigned char* fence() const { return start_ + room; }

 private:
  std::size_t page_ = 0;
  unsigned char* start_ = nullptr;
};

template <typename T>
T read(const unsigned char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Visits the descriptors of a message as the kernel parses them, as far as they lie within `size`.
template <typename Visitor>
void each_descriptor(unsigned char* message, std::size_t size, Visitor visit) {
  if (size < sizeof(mach_msg_base_t) ||
      !MACH_MSGH_BITS_IS_COMPLEX(read<mach_msg_header_t>(message).msgh_bits)) {
    return;
  }
  std::size_t at = sizeof(mach_msg_base_t);
  for (auto left = read<mach_msg_base_t>(message).body.msgh_descriptor_count; left > 0; --left) {
    if (size - at < sizeof(mach_msg_type_descriptor_t)) return;
    const mach_msg_descriptor_type_t type = read<mach_msg_type_descriptor_t>(message + at).type;
    const std::size_t length = type == MACH_MSG_PORT_DESCRIPTOR || type > MACH_MSG_DESCRIPTOR_MAX
                                   ? sizeof(mach_msg_port_descriptor_t)
                                   : sizeof(mach_msg_ool_descriptor_t);
    if (size - at < length) return;
    visit(type, message + at);
    at += length;
  }
}

// Makes random calls in the current task.
class caller {
 public:
  explicit caller(std::uint64_t seed) : draw_(seed) {}

  void run(unsigned calls) {
    for (unsigned call = 0; call < calls; ++call) {
      if (call % 16 == 0) add_names();
      make_message();
      if (draw_.below(2)) mutate();
      allocate_deallocated();
      send_and_receive();
      take_guard_exceptions(task_of_thread());
    }
  }

 private:
  // Adds names of all kinds: the random calls remove some.
  void add_names() {
    if (names_.size() > 64) names_.erase(names_.begin(), names_.begin() + 32);
    service_ = new_service();
    const mach_port_name_t service = service_, port = new_port(), gone = new_service();
    const mach_port_name_t set = new_port(MACH_PORT_RIGHT_PORT_SET);
    mach_port_insert_member(mach_task_self(), port, set);
    names_.insert(names_.end(), {service, service, port, set, new_send_once(service), gone});
    end_receive(gone);
    // Keeps queues from staying full.
    for (const mach_port_name_t each : names_) {
      if (draw_.below(4) == 0) receive(each);
    }
  }
  mach_port_name_t any_name() {
    static constexpr mach_port_name_t special[] = {MACH_PORT_NULL, MACH_PORT_DEAD, 0x103, 0x303};
    switch (draw_.below(12)) {
      case 0:
        return static_cast<mach_port_name_t>(draw_.next());
      case 1:
        return special[draw_.below(std::size(special))];
      default:
        return draw_.among(names_);
    }
  }
  mach_msg_type_name_t any_disposition() {
    return draw_.below(8) == 0
               ? draw_.below(32)
               : MACH_MSG_TYPE_MOVE_RECEIVE +
                     draw_.below(MACH_MSG_TYPE_MAKE_SEND_ONCE + 1 - MACH_MSG_TYPE_MOVE_RECEIVE);
  }
  void* any_address() {
    switch (draw_.below(8)) {
      case 0:
        return nullptr;
      case 1:
        return outgoing_.fence();
      case 2:
        return reinterpret_cast<void*>(~std::uintptr_t{0} << (4 + draw_.below(56)));
      default:
        return outgoing_.start() + draw_.below(room);
    }
  }
  mach_msg_size_t any_size() {
    switch (draw_.below(8)) {
      case 0:
        return static_cast<mach_msg_size_t>(draw_.next());
      case 1:
        return static_cast<mach_msg_size_t>(room) + draw_.below(8) - 4;
      default:
        return draw_.below(5000);
    }
  }

  template <typename T>
  void append(const T& what) {
    std::memcpy(message_.data() + size_, &what, sizeof what);
    size_ += sizeof what;
  }
  void make_message() {
    const unsigned count = draw_.below(3) == 0 ? 0 : draw_.below(6);
    mach_msg_header_t header{};
    header.msgh_bits = MACH_MSGH_BITS(
        draw_.below(4) == 0 ? any_disposition() : mach_msg_type_name_t{MACH_MSG_TYPE_COPY_SEND},
        draw_.below(3) == 0 ? any_disposition() : 0u);
    if (count > 0) header.msgh_bits |= MACH_MSGH_BITS_COMPLEX;
    if (draw_.below(16) == 0) header.msgh_bits ^= static_cast<mach_msg_bits_t>(draw_.next());
    header.msgh_size = any_size();
    header.msgh_remote_port = draw_.below(4) == 0 ? any_name() : service_;
    if (draw_.below(3) == 0) header.msgh_local_port = any_name();
    if (draw_.below(16) == 0) header.msgh_voucher_port = any_name();
    size_ = 0;
    append(header);
    if (count == 0 && draw_.below(2) == 0) return;
    append(mach_msg_body_t{draw_.below(16) == 0 ? any_size() : count});
    for (unsigned index = 0; index < count; ++index) append_descriptor();
    size_ += draw_.below(8) == 0 ? draw_.below(9000) / 4 * 4 : draw_.below(20) * 4;
  }
  void append_descriptor() {
    switch (draw_.below(6)) {
      case 0:
      case 1: {
        mach_msg_ool_descriptor_t made =
            draw_.below(4) == 0 ? memory_descriptor(any_address(), any_size())
                                : memory_descriptor(outgoing_.start(), draw_.below(room));
        made.copy = draw_.below(16) == 0 ? draw_.below(256) & 0xff : draw_.below(2) & 1;
        made.type =
            draw_.below(4) == 0 ? MACH_MSG_OOL_VOLATILE_DESCRIPTOR : MACH_MSG_OOL_DESCRIPTOR;
        made.deallocate = draw_.below(4) == 0;
        return append(made);
      }
      case 2: {
        for (std::size_t index = 0; index < 8; ++index) {
          const mach_port_name_t name = any_name();
          std::memcpy(outgoing_.start() + index * sizeof name, &name, sizeof name);
        }
        const bool good = draw_.below(2) != 0;
        mach_msg_ool_ports_descriptor_t made =
            ports_descriptor(static_cast<const mach_port_name_t*>(
                                 good ? static_cast<void*>(outgoing_.start()) : any_address()),
                             good ? draw_.below(9) : any_size() / 64, any_disposition());
        made.deallocate = draw_.below(4) == 0;
        return append(made);
      }
      case 3:
        return append(guarded_descriptor(any_name(), draw_.below(5), draw_.below(2)));
      case 4:
        if (draw_.below(4) == 0)
          return append(std::array<std::uint64_t, 2>{draw_.next(), draw_.next()});
        [[fallthrough]];
      default:
        return append(port_descriptor(any_name(), any_disposition()));
    }
  }
  void mutate() {
    for (unsigned left = draw_.below(4); left > 0; --left) {
      unsigned char& byte = message_[draw_.below(std::min<std::size_t>(size_, 200))];
      byte = static_cast<unsigned char>(draw_.below(2) ? byte ^ 1u << draw_.below(8)
                                                       : draw_.below(256));
    }
  }

  // Memory that a descriptor deallocates must not be the program's own. Allocates memory for each
  // such descriptor, or clears its flag.
  void allocate_deallocated() {
    allocated_.clear();
    each_descriptor(message_.data(), size_, [this](unsigned type, unsigned char* at) {
      if (type < MACH_MSG_OOL_DESCRIPTOR || type > MACH_MSG_OOL_VOLATILE_DESCRIPTOR) return;
      auto asked = read<mach_msg_ool_descriptor_t>(at);
      asked.size %= 16u << 20;  // more would take the loopback binding too long
      std::memcpy(at, &asked, sizeof asked);
      if (!asked.deallocate) return;
      const bool is_array = type == MACH_MSG_OOL_PORTS_DESCRIPTOR;
      mach_vm_size_t size = is_array ? asked.size * sizeof(mach_port_name_t) : asked.size;
      mach_vm_address_t memory = 0;
      if (draw_.below(64) == 0) size = (1u << 20) + 4096u * draw_.below(2);
      if (size == 0 || size > 2u << 20 ||
          mach_vm_allocate(mach_task_self(), &memory, size, VM_FLAGS_ANYWHERE) != KERN_SUCCESS) {
        asked.deallocate = 0;
      } else {
        asked.address = reinterpret_cast<void*>(memory);
        asked.size =
            static_cast<mach_msg_size_t>(is_array ? size / sizeof(mach_port_name_t) : size);
        *static_cast<std::uint32_t*>(asked.address) = any_name();
        allocated_.push_back({memory, size});
      }
      std::memcpy(at, &asked, sizeof asked);
    });
  }
  // Deallocates what a failed send has not consumed. Nothing else was mapped there since.
  void deallocate_unsent() {
    for (const allocation& each : allocated_) {
      unsigned char byte = 0;
      mach_vm_size_t done = 0;
      if (mach_vm_read_overwrite(mach_task_self(), each.address, 1,
                                 reinterpret_cast<mach_vm_address_t>(&byte),
                                 &done) == KERN_SUCCESS) {
        mach_vm_deallocate(mach_task_self(), each.address, each.size);
      }
    }
  }

  void send_and_receive() {
    static constexpr mach_msg_option_t whole[] = {MACH_SEND_MSG, MACH_SEND_MSG, MACH_RCV_MSG,
                                                  MACH_SEND_MSG | MACH_RCV_MSG};
    mach_msg_option_t option = whole[draw_.below(4)];
    if (draw_.below(3) == 0) option ^= static_cast<mach_msg_option_t>(draw_.next());
    option |= MACH_SEND_TIMEOUT | MACH_RCV_TIMEOUT;
    if (draw_.below(3) == 0) option |= MACH_RCV_GUARDED_DESC | MACH_RCV_LARGE;
    std::size_t send_size = size_;
    if (draw_.below(16) == 0)
      send_size = draw_.below(2) ? draw_.below(100) : (48u << 20) + any_size() % 4096;
    const std::size_t receive_size = draw_.below(4) == 0 ? draw_.below(200) : room;
    // A size beyond the buffer is also beyond the largest message, so the kernel reads nothing.
    const std::size_t available = std::min(send_size, room);
    unsigned char* const out = outgoing_.last(available);
    std::memcpy(out, message_.data(), std::min(available, size_));
    const bool same = draw_.below(4) == 0;
    unsigned char* const in = same ? out : incoming_.last(receive_size);
    const mach_msg_return_t result = mach_msg_overwrite(
        reinterpret_cast<mach_msg_header_t*>(out), option, static_cast<mach_msg_size_t>(send_size),
        static_cast<mach_msg_size_t>(same ? available : receive_size),
        draw_.below(2) ? service_ : any_name(), 0, any_name(),
        reinterpret_cast<mach_msg_header_t*>(in), 0);
    release_result(result, option, out, available, in);
  }

  // Releases what was received or given back.
  void release_result(mach_msg_return_t result, mach_msg_option_t option, unsigned char* out,
                      std::size_t sent, unsigned char* in) {
    const mach_msg_return_t why = result & ~MACH_MSG_MASK;
    const bool was_sent =
        (option & MACH_SEND_MSG) && (result == MACH_MSG_SUCCESS || why >= MACH_RCV_IN_PROGRESS);
    if (why == MACH_SEND_TIMED_OUT || why == MACH_SEND_NO_BUFFER) {
      discard(out, sent);
    } else if (!was_sent) {
      deallocate_unsent();
    }
    const bool received =
        (option & MACH_RCV_MSG) && (result == MACH_MSG_SUCCESS || why == MACH_RCV_BODY_ERROR);
    if (received) discard(in, read<mach_msg_header_t>(in).msgh_size);
  }
  void receive(mach_port_name_t from) {
    unsigned char* const in = incoming_.start();
    if (mach_msg(reinterpret_cast<mach_msg_header_t*>(in), MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, room,
                 from, 0, MACH_PORT_NULL) == MACH_MSG_SUCCESS) {
      discard(in, read<mach_msg_header_t>(in).msgh_size);
    }
  }
  void discard(unsigned char* message, std::size_t size) {
    drop(read<mach_msg_header_t>(message).msgh_remote_port);
    drop(read<mach_msg_header_t>(message).msgh_voucher_port);
    each_descriptor(message, size, [this](unsigned type, unsigned char* at) {
      const auto memory = read<mach_msg_ool_descriptor_t>(at);
      const auto start = reinterpret_cast<mach_vm_address_t>(memory.address);
      switch (type) {
        case MACH_MSG_OOL_DESCRIPTOR:
        case MACH_MSG_OOL_VOLATILE_DESCRIPTOR:
          if (memory.size > 0) mach_vm_deallocate(mach_task_self(), start, memory.size);
          return;
        case MACH_MSG_OOL_PORTS_DESCRIPTOR:
          for (mach_msg_size_t index = 0; index < memory.size; ++index) {
            drop(static_cast<const mach_port_name_t*>(memory.address)[index]);
          }
          if (memory.size > 0) {
            mach_vm_deallocate(mach_task_self(), start, memory.size * sizeof(mach_port_name_t));
          }
          return;
        case MACH_MSG_GUARDED_PORT_DESCRIPTOR:
          return drop(read<mach_msg_guarded_port_descriptor_t>(at).name);
        default:
          return drop(read<mach_msg_port_descriptor_t>(at).name);
      }
    });
  }
  void drop(mach_port_name_t name) {
    if (MACH_PORT_VALID(name) && draw_.below(4)) mach_port_deallocate(mach_task_self(), name);
  }

  struct allocation {
    mach_vm_address_t address;
    mach_vm_size_t size;
  };

  random_draw draw_;
  fenced outgoing_, incoming_;
  std::vector<mach_port_name_t> names_;
  mach_port_name_t service_ = MACH_PORT_NULL;  // usually a valid destination
  std::array<unsigned char, room> message_{};
  std::size_t size_ = 0;
  std::vector<allocation> allocated_;
};

// Returns the number of bytes that this process has mapped, without its heap and stack, which may
// grow.
std::uint64_t mapped() {
  std::ifstream maps("/proc/self/maps");
  std::uint64_t sum = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.ends_with("[heap]") || line.ends_with("[stack]")) continue;
    std::size_t dash = 0;
    const std::uint64_t start = std::stoull(line, &dash, 16);
    sum += std::stoull(line.substr(dash + 1), nullptr, 16) - start;
  }
  return sum;
}

void play(std::uint64_t seed) {
  CAPTURE(seed);
  const std::string before = inventory();
  const task one = create_task();
  set_guard_behaviour(one, guard_behaviour::record);
  {
    const current_task_guard there(one);
    caller(seed).run(2000);
  }
  terminate_task(one);
  CHECK(inventory() == before);
}

}  // namespace

// On Darwin a process is one task, which cannot be ended.
TEST_CASE("10,000 random mach_msg calls of each seed return, and leave nothing in the kernel" *
          doctest::skip(!has_many_tasks())) {
  play_seeds(5, play);
  if (is_sanitized) return;  // sanitizers keep freed memory mapped
  const std::uint64_t before = mapped();
  play_seeds(5, play);
  CHECK(mapped() == before);
}
