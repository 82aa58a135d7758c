// Virtual copies of large memory. The kernel shares pages where it can; neither side may notice.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <mach/mach_vm.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "test_message.h"

using namespace test;

namespace {

constexpr mach_vm_size_t megabyte = 1u << 20;
constexpr mach_vm_size_t size = 4 * megabyte;

using bytes = unsigned char;

bytes* new_memory(mach_vm_size_t length, bytes value) {
  mach_vm_address_t at = 0;
  REQUIRE(mach_vm_allocate(mach_task_self(), &at, length, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
  std::memset(reinterpret_cast<void*>(at), value, length);
  return reinterpret_cast<bytes*>(at);
}

void release(const void* at, mach_vm_size_t length) {
  CHECK(mach_vm_deallocate(mach_task_self(), reinterpret_cast<mach_vm_address_t>(at), length) ==
        KERN_SUCCESS);
}

bool holds(const bytes* at, mach_vm_size_t length, bytes value) {
  for (mach_vm_size_t index = 0; index < length; ++index) {
    if (at[index] != value) return false;
  }
  return true;
}

bool can_be_read(const void* at) {
  bytes byte = 0;
  mach_vm_size_t done = 0;
  return mach_vm_read_overwrite(mach_task_self(), reinterpret_cast<mach_vm_address_t>(at), 1,
                                reinterpret_cast<mach_vm_address_t>(&byte), &done) == KERN_SUCCESS;
}

void send(mach_port_name_t port, const void* memory, mach_vm_size_t length,
          bool deallocate = false) {
  message m(port, MACH_MSG_TYPE_MAKE_SEND);
  REQUIRE(m.with(memory_descriptor(memory, static_cast<mach_msg_size_t>(length),
                                   MACH_MSG_VIRTUAL_COPY, deallocate))
              .send() == MACH_MSG_SUCCESS);
}

bytes* receive(mach_port_name_t port) {
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  return static_cast<bytes*>(got.at<mach_msg_ool_descriptor_t>().address);
}

bytes* pass(const void* memory, mach_vm_size_t length, bool deallocate = false) {
  const mach_port_name_t port = new_port();
  send(port, memory, length, deallocate);
  bytes* const got = receive(port);
  CHECK(end_receive(port) == KERN_SUCCESS);
  return got;
}

}  // namespace

TEST_CASE("sender, receiver and further copies each see only their own writes") {
  bytes* const first = new_memory(size, 1);
  bytes* const second = pass(first, size);
  first[5] = 2;
  second[megabyte] = 3;
  bytes* const third = pass(first, size);
  bytes* const fourth = pass(second, size);
  first[6] = third[7] = fourth[8] = 9;
  CHECK(first[5] == 2);
  CHECK(third[5] == 2);
  CHECK(second[5] == 1);
  CHECK(fourth[5] == 1);
  CHECK(first[megabyte] == 1);
  CHECK(third[megabyte] == 1);
  CHECK(second[megabyte] == 3);
  CHECK(fourth[megabyte] == 3);
  CHECK(third[6] == 1);
  CHECK(second[6] == 1);
  CHECK(first[7] == 1);
  CHECK(second[8] == 1);
  for (bytes* const each : {first, second, third, fourth}) {
    CHECK(holds(each + 2 * megabyte, 2 * megabyte, 1));
    release(each, size);
  }
}

TEST_CASE("six copies each have the writes made before them, in pages far apart") {
  bytes* const memory = new_memory(size, 0);
  std::vector<bytes*> copies;
  for (bytes round = 1; round <= 6; ++round) {
    CAPTURE(round);
    for (mach_vm_size_t at = 0; at < size; at += size / (round * 16)) memory[at] = round;
    copies.push_back(pass(memory, size));
    REQUIRE(std::memcmp(copies.back(), memory, size) == 0);
  }
  CHECK(copies[0][0] == 1);
  CHECK(copies[5][0] == 6);
  for (bytes* const each : copies) release(each, size);
  release(memory, size);
}

TEST_CASE("a copy of a part that begins and ends within pages has its bytes and its page offset") {
  bytes* const memory = new_memory(size, 4);
  const mach_vm_size_t part = 2 * megabyte + 100;
  memory[megabyte + 10] = 5;
  memory[megabyte + 10 + part - 1] = 6;
  bytes* const got = pass(memory + megabyte + 10, part);
  CHECK(reinterpret_cast<std::uintptr_t>(got) % vm_page_size == 10);
  CHECK(got[0] == 5);
  CHECK(got[part - 1] == 6);
  CHECK(holds(got + 1, part - 2, 4));
  memory[0] = memory[megabyte + 11] = memory[size - 1] = 7;
  CHECK(holds(got + 1, part - 2, 4));
  bytes* const all = pass(memory, size);
  CHECK(std::memcmp(all, memory, size) == 0);
  release(all, size);
  release(got, part);
  release(memory, size);
}

TEST_CASE("after a part is deallocated, the rest can be sent and the whole cannot") {
  bytes* const memory = new_memory(size, 4);
  const hole h(memory + megabyte, megabyte);
  REQUIRE(h.gone());
  bytes* const got = pass(memory + 2 * megabyte, 2 * megabyte);
  memory[2 * megabyte] = 1;
  CHECK(holds(got, 2 * megabyte, 4));
  message m(new_port(), MACH_MSG_TYPE_MAKE_SEND);
  m.with(memory_descriptor(memory, static_cast<mach_msg_size_t>(size), MACH_MSG_VIRTUAL_COPY));
  CHECK(m.send() == MACH_SEND_INVALID_MEMORY);
  release(got, 2 * megabyte);
  release(memory, megabyte);
  release(memory + 2 * megabyte, 2 * megabyte);
}

TEST_CASE("pages that the program has mapped over kernel memory are sent, and stay mapped") {
  bytes* const memory = new_memory(size, 4);
  REQUIRE(mmap(memory + megabyte, megabyte, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANON | MAP_FIXED, -1, 0) == memory + megabyte);
  std::memset(memory + megabyte, 8, megabyte);
  bytes* const got = pass(memory, size);
  CHECK(holds(got, megabyte, 4));
  CHECK(holds(got + megabyte, megabyte, 8));
  CHECK(holds(memory + megabyte, megabyte, 8));
  release(got, size);
  REQUIRE(mmap(memory, size, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_FIXED, -1, 0) == memory);
  message m(new_port(), MACH_MSG_TYPE_MAKE_SEND);
  m.with(memory_descriptor(memory, static_cast<mach_msg_size_t>(size), MACH_MSG_VIRTUAL_COPY));
  CHECK(m.send() == MACH_SEND_INVALID_MEMORY);
  REQUIRE(munmap(memory, size) == 0);
}

TEST_CASE("the sender keeps its protection, and the receiver may write") {
  bytes* const memory = new_memory(size, 4);
  const auto at = reinterpret_cast<mach_vm_address_t>(memory);
  REQUIRE(mach_vm_protect(mach_task_self(), at, megabyte, 0, VM_PROT_READ) == KERN_SUCCESS);
  bytes* const got = pass(memory, size);
  got[0] = 1;
  CHECK(mach_vm_write(mach_task_self(), at, reinterpret_cast<vm_offset_t>(got), 1) ==
        KERN_INVALID_ADDRESS);
  CHECK(memory[0] == 4);
  memory[megabyte] = 2;
  CHECK(got[megabyte] == 4);
  release(got, size);

  REQUIRE(mach_vm_protect(mach_task_self(), at, megabyte, 0, VM_PROT_NONE) == KERN_SUCCESS);
  message m(new_port(), MACH_MSG_TYPE_MAKE_SEND);
  m.with(memory_descriptor(memory, static_cast<mach_msg_size_t>(size), MACH_MSG_VIRTUAL_COPY));
  CHECK(m.send() == MACH_SEND_INVALID_MEMORY);
  release(memory, size);
}

TEST_CASE("memory sent with deallocate is gone from the sender at once") {
  const mach_port_name_t port = new_port();
  bytes* const memory = new_memory(size, 4);
  bytes* const other = pass(memory, size);
  memory[3] = 5;
  send(port, memory, size, true);
  CHECK(!can_be_read(memory));
  CHECK(!can_be_read(memory + size - 1));
  bytes* const got = receive(port);
  CHECK(got[3] == 5);
  CHECK(other[3] == 4);
  got[4] = 6;
  bytes* const again = pass(got, size);
  CHECK(again[3] == 5);
  CHECK(again[4] == 6);
  CHECK(holds(again + 5, size - 5, 4));
  for (bytes* const each : {other, got, again}) release(each, size);
}

TEST_CASE("destroying a message destroys the memory that its sender deallocated") {
  const mach_port_name_t port = new_port();
  bytes* const memory = new_memory(size, 4);
  bytes* const other = pass(memory, size);
  send(port, other, size);
  send(port, memory, size, true);
  CHECK(end_receive(port) == KERN_SUCCESS);
  CHECK(!can_be_read(memory));
  CHECK(holds(other, size, 4));
  release(other, size);
}

TEST_CASE("a send to a full queue gives the memory back") {
  const mach_port_name_t port = new_service();
  REQUIRE(set_limit(port, 0) == KERN_SUCCESS);
  for (const bool deallocate : {false, true}) {
    CAPTURE(deallocate);
    bytes* const memory = new_memory(size, 4);
    message m(port, MACH_MSG_TYPE_COPY_SEND);
    m.with(memory_descriptor(memory, static_cast<mach_msg_size_t>(size), MACH_MSG_VIRTUAL_COPY,
                             deallocate));
    REQUIRE(m.send() == MACH_SEND_TIMED_OUT);
    auto* const back = static_cast<bytes*>(m.at<mach_msg_ool_descriptor_t>().address);
    CHECK(holds(back, size, 4));
    release(back, size);
    CHECK(can_be_read(memory) == !deallocate);
    if (!deallocate) release(memory, size);
  }
}

TEST_CASE("memory that the program has unmapped itself keeps fewer than 100 files open") {
  const auto open_files = [] {
    int count = 0;
    for (int each = 0; each < 1024; ++each) count += fcntl(each, F_GETFD) >= 0;
    return count;
  };
  const int before = open_files();
  std::vector<void*> places;
  for (int each = 0; each < 200; ++each) {
    mach_vm_address_t at = 0;
    REQUIRE(mach_vm_allocate(mach_task_self(), &at, megabyte, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
    void* const place = reinterpret_cast<void*>(at);
    // A mapping of the program, so that the kernel allocates nothing else there.
    REQUIRE(mmap(place, megabyte, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_FIXED, -1, 0) == place);
    places.push_back(place);
  }
  CHECK(open_files() < before + 100);
  for (void* const each : places) munmap(each, megabyte);
}

TEST_CASE("after a fork parent and child see only their own writes") {
  bytes* const written = new_memory(size, 4);
  bytes* const sent = new_memory(size, 5);
  bytes* const got = pass(sent, size);
  int both[2][2];
  REQUIRE(pipe(both[0]) == 0);
  REQUIRE(pipe(both[1]) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    char token = 0;
    written[0] = sent[0] = got[0] = 1;
    if (write(both[0][1], &token, 1) != 1 || read(both[1][0], &token, 1) != 1) _exit(2);
    const bool own = written[0] == 1 && sent[0] == 1 && got[0] == 1 && written[megabyte] == 4 &&
                     sent[megabyte] == 5 && got[megabyte] == 5;
    _exit(own ? 0 : 1);
  }
  char token = 0;
  REQUIRE(read(both[0][0], &token, 1) == 1);
  CHECK(written[0] == 4);
  CHECK(sent[0] == 5);
  CHECK(got[0] == 5);
  written[megabyte] = sent[megabyte] = got[megabyte] = 2;
  REQUIRE(write(both[1][1], &token, 1) == 1);
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  bytes* const after = pass(written, size);
  CHECK(after[0] == 4);
  CHECK(after[megabyte] == 2);
  for (bytes* const each : {written, sent, got, after}) release(each, size);
  for (const auto& ends : both) {
    close(ends[0]);
    close(ends[1]);
  }
}
