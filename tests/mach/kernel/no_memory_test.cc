// Calls that run out of memory fail and change nothing (mach_port.c: KERN_RESOURCE_SHORTAGE).
// Defines operator new, so it must be a test binary of its own.
#include <doctest/doctest.h>

#include <mach/mach_time.h>
#include <mach/mk_timer.h>
#include <mach/semaphore.h>
#include <mach/task.h>
#include <servers/bootstrap.h>

#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/kernel/snapshot.h"
#include "test_message.h"
#include "virtual_clock.h"

namespace {

// The number of allocations of this thread that still succeed. Below 0 none fails.
thread_local int left = -1;

// The number of allocations that this thread has made and not freed.
thread_local int live = 0;

void* allocate(std::size_t size) noexcept {
  if (left == 0) return nullptr;
  if (left > 0) --left;
  ++live;
  return std::malloc(size > 0 ? size : 1);
}

void release(void* memory) noexcept {
  if (memory) --live;
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) {
  void* const memory = allocate(size);
  if (!memory) throw std::bad_alloc();
  return memory;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size);
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  release(memory);
}

using namespace test;

namespace {

std::string everything() {
  return to_string(kedge::mach::kernel::take_snapshot());
}

// Calls `call` again and again: first its first allocation fails, then its second, and so on until
// it succeeds. Each failure must return `error` and leave the kernel unchanged. Returns the number
// of failures.
int fail_each_allocation(kern_return_t error, const std::function<kern_return_t()>& call) {
  const std::string before = everything();
  for (int failures = 0;; ++failures) {
    left = failures;
    const kern_return_t result = call();
    left = -1;
    if (result == KERN_SUCCESS) return failures;
    CAPTURE(failures);
    CHECK(result == error);
    CHECK(everything() == before);
    if (failures == 100) return -1;
  }
}

}  // namespace

TEST_CASE("allocate and construct without memory fail and change nothing") {
  mach_port_name_t name = new_port();  // makes room for the next names
  for (const mach_port_right_t right : {MACH_PORT_RIGHT_RECEIVE, MACH_PORT_RIGHT_PORT_SET}) {
    CAPTURE(right);
    CHECK(fail_each_allocation(KERN_RESOURCE_SHORTAGE, [&] {
            return mach_port_allocate(mach_task_self(), right, &name);
          }) == 1);
  }
  mach_port_options_t options{};
  options.flags = MPO_INSERT_SEND_RIGHT;
  CHECK(fail_each_allocation(KERN_RESOURCE_SHORTAGE, [&] {
          return mach_port_construct(mach_task_self(), &options, 0, &name);
        }) == 1);
}

TEST_CASE("insert_member without memory fails and changes nothing") {
  const mach_port_name_t port = new_port(), set = new_port(MACH_PORT_RIGHT_PORT_SET);
  CHECK(fail_each_allocation(KERN_RESOURCE_SHORTAGE, [&] {
          return mach_port_insert_member(mach_task_self(), port, set);
        }) == 1);
}

TEST_CASE("request_notification without memory fails and destroys the send-once right") {
  const mach_port_name_t port = new_service(), notify = new_port();
  // The kernel keeps a used kmsg for the next message.
  REQUIRE(mach_port_deallocate(mach_task_self(), new_send_once(notify)) == KERN_SUCCESS);
  REQUIRE(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
  left = 0;
  CHECK(request(port, MACH_NOTIFY_DEAD_NAME, 0, notify) == KERN_RESOURCE_SHORTAGE);
  left = -1;
  CHECK(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
  CHECK((type_of(port) & MACH_PORT_TYPE_DNREQUEST) == 0);
  CHECK(request(port, MACH_NOTIFY_DEAD_NAME, 0, notify) == KERN_SUCCESS);
}

TEST_CASE("semaphore_create without memory fails and changes nothing") {
  semaphore_t semaphore = SEMAPHORE_NULL;
  CHECK(fail_each_allocation(KERN_RESOURCE_SHORTAGE, [&] {
          return semaphore_create(mach_task_self(), &semaphore, SYNC_POLICY_FIFO, 0);
        }) == 2);
}

TEST_CASE("mk_timer_create and mk_timer_arm without memory fail and change nothing") {
  mach_port_name_t timer = MACH_PORT_NULL;
  CHECK(fail_each_allocation(KERN_RESOURCE_SHORTAGE, [&] {
          timer = mk_timer_create();
          return timer == MACH_PORT_NULL ? KERN_RESOURCE_SHORTAGE : KERN_SUCCESS;
        }) == 2);
  const std::uint64_t far_away = mach_absolute_time() + (std::uint64_t{1} << 50);
  REQUIRE(mk_timer_arm(timer, far_away) == KERN_SUCCESS);  // the timer keeps a kmsg
  CHECK(fail_each_allocation(KERN_RESOURCE_SHORTAGE,
                             [&] { return mk_timer_arm(timer, far_away + 1); }) == 1);
  std::uint64_t armed = 0;
  CHECK(mk_timer_cancel(timer, &armed) == KERN_SUCCESS);
  CHECK(armed == far_away + 1);
  CHECK(mk_timer_destroy(timer) == KERN_SUCCESS);
}

TEST_CASE("a timer leaves no memory behind, however its port is destroyed, armed or not") {
  using call = kern_return_t (*)(mach_port_name_t);
  const call by_timer = [](mach_port_name_t name) { return mk_timer_destroy(name); };
  const call by_right = [](mach_port_name_t name) { return end_receive(name); };
  const call by_name = [](mach_port_name_t name) {
    return mach_port_destroy(mach_task_self(), name);
  };
  const std::uint64_t far_away = mach_absolute_time() + (std::uint64_t{1} << 50);
  const mach_port_name_t first = mk_timer_create();
  REQUIRE(mk_timer_arm(first, far_away) == KERN_SUCCESS);
  REQUIRE(mk_timer_destroy(first) == KERN_SUCCESS);  // the kernel keeps its kmsg
  for (const call destroy : {by_timer, by_right, by_name}) {
    for (const bool is_armed : {false, true}) {
      CAPTURE(is_armed);
      const int before = live;
      const mach_port_name_t timer = mk_timer_create();
      kern_return_t armed = KERN_SUCCESS;
      if (is_armed) armed = mk_timer_arm(timer, far_away);
      const kern_return_t destroyed = destroy(timer);
      const int after = live;
      CHECK(armed == KERN_SUCCESS);
      CHECK(destroyed == KERN_SUCCESS);
      CHECK(after == before);
    }
  }
}

TEST_CASE("timers that were armed while there was memory send their messages without memory") {
  constexpr int count = 200;  // more than the kernel keeps kmsgs
  virtual_clock clock;
  std::vector<mach_port_name_t> timers;
  for (int each = 0; each < count; ++each) {
    timers.push_back(mk_timer_create());
    REQUIRE(mk_timer_arm(timers.back(), clock.now() + 1) == KERN_SUCCESS);
  }
  left = 0;
  clock.advance(1);
  left = -1;
  int sent = 0;
  for (const mach_port_name_t each : timers) {
    sent += next_id(each) == 0;
    CHECK(mk_timer_destroy(each) == KERN_SUCCESS);
  }
  CHECK(sent == count);
}

TEST_CASE("create_task without memory throws and changes nothing") {
  kedge::mach::kernel::task made;
  CHECK(fail_each_allocation(KERN_RESOURCE_SHORTAGE, [&] {
          try {
            made = kedge::mach::kernel::create_task();
            return KERN_SUCCESS;
          } catch (const std::bad_alloc&) {
            return KERN_RESOURCE_SHORTAGE;
          }
        }) > 1);
  kedge::mach::kernel::terminate_task(made);
}

TEST_CASE("bootstrap_check_in without memory fails and changes nothing") {
  mach_port_t port = MACH_PORT_NULL;
  CHECK(fail_each_allocation(BOOTSTRAP_NO_MEMORY, [&] {
          return bootstrap_check_in(bootstrap_port, "org.kedge.test.no-memory.with-a-long-name",
                                    &port);
        }) > 1);
}

TEST_CASE("allocate without memory for the table of names fails with KERN_NO_SPACE") {
  int refused = 0;
  for (int each = 0; each < 2000; ++each) {
    CAPTURE(each);
    mach_port_name_t name = MACH_PORT_NULL;
    left = 0;
    const kern_return_t result =
        mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_DEAD_NAME, &name);
    left = -1;
    if (result == KERN_SUCCESS) continue;
    CHECK(result == KERN_NO_SPACE);
    ++refused;
    CHECK(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_DEAD_NAME, &name) == KERN_SUCCESS);
  }
  CHECK(refused > 0);
}

TEST_CASE("a send without memory fails with MACH_SEND_NO_BUFFER and consumes nothing") {
  const mach_port_name_t port = new_service(), cargo = new_service();
  set_limit(port, 1000);
  int refused = 0;
  for (int each = 0; each < 200; ++each) {
    CAPTURE(each);
    message m(port, MACH_MSG_TYPE_COPY_SEND, each, {{cargo, MACH_MSG_TYPE_COPY_SEND}});
    left = 0;
    const mach_msg_return_t result = m.send();
    left = -1;
    if (result == MACH_MSG_SUCCESS) continue;
    CHECK(result == MACH_SEND_NO_BUFFER);
    ++refused;
    CHECK(refs_of(cargo, MACH_PORT_RIGHT_SEND) == 1);
  }
  CHECK(refused > 0);
}

TEST_CASE(
    "a send of 2 MiB that is short of memory either succeeds or leaves the memory to its sender") {
  const mach_port_name_t port = new_service();
  constexpr mach_msg_size_t size = 2u << 20;
  for (int allocations = 0; allocations < 30; ++allocations) {
    CAPTURE(allocations);
    vm_address_t at = 0;
    REQUIRE(vm_allocate(mach_task_self(), &at, size, VM_FLAGS_ANYWHERE) == KERN_SUCCESS);
    auto* const bytes = reinterpret_cast<unsigned char*>(at);
    bytes[size - 1] = 7;
    // Makes two mappings of it.
    REQUIRE(vm_protect(mach_task_self(), at, size / 2, 0, VM_PROT_READ) == KERN_SUCCESS);
    message m(port, MACH_MSG_TYPE_COPY_SEND);
    m.with(memory_descriptor(bytes, size, MACH_MSG_VIRTUAL_COPY, true));
    left = allocations;
    const mach_msg_return_t result = m.send();
    left = -1;
    const unsigned char* found = bytes;
    if (result == MACH_MSG_SUCCESS) {
      message got;
      REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
      found = static_cast<unsigned char*>(got.at<mach_msg_ool_descriptor_t>().address);
    }
    CHECK((result == MACH_MSG_SUCCESS || result == MACH_SEND_NO_BUFFER ||
           result == MACH_MSG_VM_KERNEL));
    unsigned char last = 0;
    vm_size_t copied = 0;
    CHECK(vm_read_overwrite(mach_task_self(), reinterpret_cast<vm_address_t>(found) + size - 1, 1,
                            reinterpret_cast<vm_address_t>(&last), &copied) == KERN_SUCCESS);
    CHECK(last == 7);
    CHECK(vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(found), size) ==
          KERN_SUCCESS);
  }
}

TEST_CASE("a send of eight send-once rights without memory consumes all of them or none") {
  const mach_port_name_t port = new_service(), notify = new_port();
  set_limit(notify, 1000);
  for (int allocations = 0; allocations < 6; ++allocations) {
    CAPTURE(allocations);
    std::vector<mach_port_name_t> cargo;
    message m(port, MACH_MSG_TYPE_COPY_SEND);
    for (int each = 0; each < 8; ++each) {
      CAPTURE(each);
      cargo.push_back(new_send_once(notify));
      REQUIRE(request(cargo.back(), MACH_NOTIFY_DEAD_NAME, 0, notify) == KERN_SUCCESS);
      m.with(port_descriptor(cargo.back(), MACH_MSG_TYPE_MOVE_SEND_ONCE));
    }
    left = allocations;
    const mach_msg_return_t result = m.send();
    left = -1;
    CHECK((result == MACH_MSG_SUCCESS || result == MACH_SEND_NO_BUFFER));
    for (const mach_port_name_t each : cargo) {
      CAPTURE(each);
      CHECK((type_of(each) != 0) == (result != MACH_MSG_SUCCESS));
      if (result != MACH_MSG_SUCCESS) mach_port_deallocate(mach_task_self(), each);
    }
    if (result == MACH_MSG_SUCCESS) CHECK(next_id(port) == 0);
  }
}

TEST_CASE("a receive without memory still sends eight send-possible notifications") {
  const mach_port_name_t port = new_service(), notify = new_port();
  set_limit(port, 1);
  set_limit(notify, 1000);
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND, 1).send() == MACH_MSG_SUCCESS);
  std::vector<kedge::mach::kernel::task> tasks;
  for (int each = 0; each < 8; ++each) {
    CAPTURE(each);
    const auto next = tasks.emplace_back(kedge::mach::kernel::create_task());
    const mach_port_t self = kedge::mach::kernel::task_self_port(next);
    REQUIRE(mach_port_insert_right(self, 0x123403, port, MACH_MSG_TYPE_COPY_SEND) == KERN_SUCCESS);
    mach_port_t previous = MACH_PORT_NULL;
    REQUIRE(mach_port_request_notification(self, 0x123403, MACH_NOTIFY_SEND_POSSIBLE, 1, notify,
                                           MACH_MSG_TYPE_MAKE_SEND_ONCE,
                                           &previous) == KERN_SUCCESS);
  }
  for (int each = 0; each < 8; ++each) {
    CAPTURE(each);
    // The kernel keeps a used kmsg for the next message.
    REQUIRE(mach_port_deallocate(mach_task_self(), new_send_once(notify)) == KERN_SUCCESS);
  }
  for (int each = 0; each < 8; ++each) {
    CAPTURE(each);
    REQUIRE(next_id(notify) == MACH_NOTIFY_SEND_ONCE);
  }
  message got;
  left = 0;
  CHECK(got.receive(port) == MACH_MSG_SUCCESS);
  left = -1;
  for (int each = 0; each < 8; ++each) {
    CAPTURE(each);
    CHECK(next_id(notify) == MACH_NOTIFY_SEND_POSSIBLE);
  }
  CHECK(next_id(notify) == -1);
  for (const auto each : tasks) kedge::mach::kernel::terminate_task(each);
}

TEST_CASE("a call whose guard exception cannot be recorded has its result all the same") {
  using namespace kedge::mach::kernel;
  set_guard_behaviour({}, guard_behaviour::record);
  const mach_port_name_t port = new_service();
  const mach_port_name_t unknown = port ^ 4;
  message m(port, MACH_MSG_TYPE_COPY_SEND);
  REQUIRE(message(port, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  REQUIRE(next_id(port) == 0);  // the kernel keeps the kmsg
  m.reply_to(unknown, MACH_MSG_TYPE_MAKE_SEND_ONCE);
  left = 0;
  const kern_return_t deallocated = mach_port_deallocate(mach_task_self(), unknown);
  const mach_msg_return_t sent = m.send();
  left = -1;
  CHECK(deallocated == KERN_INVALID_NAME);
  CHECK(sent == MACH_SEND_INVALID_REPLY);
  CHECK(take_guard_exceptions({}).empty());
  // With memory the next one is recorded.
  CHECK(mach_port_deallocate(mach_task_self(), unknown) == KERN_INVALID_NAME);
  CHECK(take_guard_exceptions({}).size() == 1);
  set_guard_behaviour({}, guard_behaviour::ordinary);
}
