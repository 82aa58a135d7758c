#include <mach/mach.h>

#include <cstring>

#include "benchmark.h"
#include "mach_port.h"

namespace {

constexpr std::size_t size = 64u << 20;

struct memory_message {
  mach_msg_header_t header;
  mach_msg_body_t body;
  mach_msg_ool_descriptor_t memory;
};
struct received_memory {
  memory_message message;
  mach_msg_max_trailer_t trailer;
};

class kernel_memory {
 public:
  kernel_memory() {
    throw_if_failed(vm_allocate(mach_task_self(), &address_, size, VM_FLAGS_ANYWHERE));
    std::memset(data(), 1, size);
  }
  ~kernel_memory() { vm_deallocate(mach_task_self(), address_, size); }
  kernel_memory(const kernel_memory&) = delete;
  kernel_memory& operator=(const kernel_memory&) = delete;
  void* data() const { return reinterpret_cast<void*>(address_); }

 private:
  vm_address_t address_ = 0;
};

void* pass(const mach_port& port, void* data) {
  memory_message sent{};
  sent.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0u) | MACH_MSGH_BITS_COMPLEX;
  sent.header.msgh_remote_port = port.name;
  sent.body.msgh_descriptor_count = 1;
  sent.memory.address = data;
  sent.memory.size = size;
  sent.memory.copy = MACH_MSG_VIRTUAL_COPY;
  sent.memory.type = MACH_MSG_OOL_DESCRIPTOR;
  throw_if_failed(mach_msg(&sent.header, MACH_SEND_MSG, sizeof sent, 0, MACH_PORT_NULL,
                           MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL));
  received_memory got;
  throw_if_failed(mach_msg(&got.message.header, MACH_RCV_MSG, 0, sizeof got, port.name,
                           MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL));
  return got.message.memory.address;
}

void read_pages(const volatile char* at) {
  for (std::size_t page = 0; page < size; page += vm_page_size) static_cast<void>(at[page]);
}

template <typename Use>
void send(std::uint64_t n, Use use) {
  const kernel_memory memory;
  const mach_port port;
  for (std::uint64_t i = 0; i < n; ++i) {
    void* const got = pass(port, memory.data());
    use(static_cast<const char*>(got));
    throw_if_failed(vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(got), size));
  }
}

}  // namespace

void send_memory(std::uint64_t n) {
  send(n, [](const char*) {});
}

void send_memory_and_read(std::uint64_t n) {
  send(n, [](const char* at) { read_pages(at); });
}
