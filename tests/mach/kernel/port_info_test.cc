// What a task can inspect of its names and ports (mach_debug.c), and mach_port_assert_attributes.
#include <doctest/doctest.h>

#include <mach/semaphore.h>
#include <mach/task.h>

#include <map>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

using namespace kedge::mach::kernel;

// The names of the task, by the calls for programs that inspect.
std::map<mach_port_name_t, ipc_info_name_t> all_names(ipc_info_space_t& info) {
  ipc_info_name_array_t table = nullptr;
  ipc_info_tree_name_array_t tree = nullptr;
  mach_msg_type_number_t count = 0, tree_count = 7;
  REQUIRE(mach_port_space_info(mach_task_self(), &info, &table, &count, &tree, &tree_count) ==
          KERN_SUCCESS);
  CHECK(count == info.iis_table_size);
  CHECK(tree_count == 0);
  std::map<mach_port_name_t, ipc_info_name_t> used;
  for (mach_msg_type_number_t each = 0; each < count; ++each) {
    CAPTURE(each);
    CHECK(MACH_PORT_INDEX(table[each].iin_name) == each);
    if (table[each].iin_type != MACH_PORT_TYPE_NONE) used[table[each].iin_name] = table[each];
  }
  CHECK(vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(table),
                      count * sizeof *table) == KERN_SUCCESS);
  return used;
}

natural_t object_type(mach_port_name_t name) {
  natural_t type = 0xdead;
  mach_vm_address_t address = 1;
  CHECK(mach_port_kobject(mach_task_self(), name, &type, &address) == KERN_SUCCESS);
  CHECK(address == 0);
  return type;
}

kern_return_t kobject_error(mach_port_name_t name) {
  natural_t type = 0;
  mach_vm_address_t address = 0;
  return mach_port_kobject(mach_task_self(), name, &type, &address);
}

kern_return_t assert_guard(mach_port_name_t name, std::uint64_t guard,
                           mach_msg_type_number_t count = MACH_PORT_GUARD_INFO_COUNT,
                           mach_port_flavor_t flavor = MACH_PORT_GUARD_INFO) {
  mach_port_guard_info_t info{guard};
  return mach_port_assert_attributes(mach_task_self(), name, flavor,
                                     reinterpret_cast<mach_port_info_t>(&info), count);
}

}  // namespace

TEST_CASE("space_info lists each name with its rights, references and object") {
  const mach_port_name_t port = new_service(), set = new_port(MACH_PORT_RIGHT_PORT_SET),
                         dead = new_port(MACH_PORT_RIGHT_DEAD_NAME), once = new_send_once(port);
  REQUIRE(request(port, MACH_NOTIFY_DEAD_NAME, 0, port) == KERN_SUCCESS);
  REQUIRE(mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_SEND, 4) == KERN_SUCCESS);
  ipc_info_space_t info{};
  auto names = all_names(info);
  CHECK(info.iis_genno_mask == 0xff);
  CHECK(names[port].iin_type == (MACH_PORT_TYPE_SEND_RECEIVE | MACH_PORT_TYPE_DNREQUEST));
  CHECK(names[port].iin_urefs == 5);
  CHECK(names[set].iin_type == MACH_PORT_TYPE_PORT_SET);
  CHECK(names[dead].iin_type == MACH_PORT_TYPE_DEAD_NAME);
  CHECK(names[dead].iin_urefs == 1);
  CHECK(names[once].iin_type == MACH_PORT_TYPE_SEND_ONCE);
  CHECK(names[once].iin_object == names[port].iin_object);
  CHECK(names[set].iin_object != names[port].iin_object);
}

TEST_CASE("space_basic_info counts the names in use") {
  ipc_info_space_basic_t before{}, after{};
  REQUIRE(mach_port_space_basic_info(mach_task_self(), &before) == KERN_SUCCESS);
  CHECK(before.iisb_genno_mask == 0xff);
  CHECK(before.iisb_table_inuse < before.iisb_table_size);
  const mach_port_name_t port = new_port();
  new_port();
  REQUIRE(mach_port_space_basic_info(mach_task_self(), &after) == KERN_SUCCESS);
  CHECK(after.iisb_table_inuse == before.iisb_table_inuse + 2);
  REQUIRE(end_receive(port) == KERN_SUCCESS);
  REQUIRE(mach_port_space_basic_info(mach_task_self(), &after) == KERN_SUCCESS);
  CHECK(after.iisb_table_inuse == before.iisb_table_inuse + 1);
}

TEST_CASE("kobject reports the type of the kernel object behind a port") {
  CHECK(object_type(mach_task_self()) == 2);
  CHECK(object_type(mach_host_self()) == 3);
  CHECK(object_type(mach_thread_self()) == 1);
  semaphore_t semaphore = MACH_PORT_NULL;
  REQUIRE(semaphore_create(mach_task_self(), &semaphore, SYNC_POLICY_FIFO, 0) == KERN_SUCCESS);
  CHECK(object_type(semaphore) == 23);
  semaphore_destroy(mach_task_self(), semaphore);
  clock_serv_t clock = MACH_PORT_NULL;
  REQUIRE(host_get_clock_service(mach_host_self(), SYSTEM_CLOCK, &clock) == KERN_SUCCESS);
  CHECK(object_type(clock) == 25);
  const mach_port_name_t port = new_port();
  CHECK(object_type(port) == 0);
  unsigned int type = 1, address = 1;
  CHECK(mach_port_kernel_object(mach_task_self(), port, &type, &address) == KERN_SUCCESS);
  CHECK(type == 0);
  CHECK(address == 0);
  CHECK(mach_port_kernel_object(mach_task_self(), port, &type, nullptr) == KERN_SUCCESS);
  natural_t served = 1;
  mach_vm_address_t at = 1;
  kobject_description_t text{'x'};
  CHECK(mach_port_kobject_description(mach_task_self(), port, &served, &at, text) == KERN_SUCCESS);
  CHECK(text[0] == '\0');
}

TEST_CASE("kobject refuses a name without a send or receive right") {
  const mach_port_name_t port = new_port();
  CHECK(kobject_error(MACH_PORT_NULL) == KERN_INVALID_NAME);
  CHECK(kobject_error(MACH_PORT_DEAD) == KERN_INVALID_NAME);
  CHECK(kobject_error(port ^ 4) == KERN_INVALID_NAME);
  CHECK(kobject_error(new_port(MACH_PORT_RIGHT_PORT_SET)) == KERN_INVALID_RIGHT);
  CHECK(kobject_error(new_send_once(port)) == KERN_INVALID_RIGHT);
  CHECK(kobject_error(new_port(MACH_PORT_RIGHT_DEAD_NAME)) == KERN_INVALID_NAME);
}

TEST_CASE("dnrequest_info counts the requests at a port") {
  const mach_port_name_t port = new_service();
  unsigned int total = 7, used = 7;
  CHECK(mach_port_dnrequest_info(mach_task_self(), port, &total, &used) == KERN_SUCCESS);
  CHECK(used == 0);
  CHECK(total == 0);
  REQUIRE(request(port, MACH_NOTIFY_DEAD_NAME, 0, port) == KERN_SUCCESS);
  CHECK(mach_port_dnrequest_info(mach_task_self(), port, &total, &used) == KERN_SUCCESS);
  CHECK(used == 1);
  CHECK(total > 1);
  CHECK(mach_port_dnrequest_info(mach_task_self(), MACH_PORT_NULL, &total, &used) ==
        KERN_INVALID_NAME);
  CHECK(mach_port_dnrequest_info(mach_task_self(), new_send_once(port), &total, &used) ==
        KERN_INVALID_RIGHT);
}

TEST_CASE("a plain port has no service info and no filter policy") {
  const mach_port_name_t port = new_port(), other = new_port();
  mach_service_port_info_data_t info{};
  CHECK(mach_port_get_service_port_info(mach_task_self(), port, &info) == KERN_INVALID_CAPABILITY);
  CHECK(mach_port_get_service_port_info(mach_task_self(), MACH_PORT_NULL, &info) ==
        KERN_INVALID_RIGHT);
  CHECK(mach_port_get_service_port_info(mach_task_self(), port ^ 4, &info) == KERN_INVALID_NAME);
  std::uint64_t policy = 7;
  CHECK(mach_port_is_connection_for_service(mach_task_self(), other, port, &policy) ==
        KERN_INVALID_CAPABILITY);
  CHECK(mach_port_is_connection_for_service(mach_task_self(), MACH_PORT_NULL, port, &policy) ==
        KERN_INVALID_NAME);
  CHECK(mach_port_is_connection_for_service(mach_task_self(), other, MACH_PORT_DEAD, &policy) ==
        KERN_INVALID_NAME);
  CHECK(policy == 7);
}

TEST_CASE("assert_attributes passes the right strict guard, and refuses other flavors and sizes") {
  const mach_port_name_t port = new_port();
  REQUIRE(mach_port_guard(mach_task_self(), port, 77, 1) == KERN_SUCCESS);
  CHECK(assert_guard(port, 77) == KERN_SUCCESS);
  CHECK(assert_guard(port, 77, MACH_PORT_GUARD_INFO_COUNT - 1) == KERN_FAILURE);
  CHECK(assert_guard(port, 77, MACH_PORT_GUARD_INFO_COUNT, MACH_PORT_LIMITS_INFO) ==
        KERN_INVALID_ARGUMENT);
  CHECK(assert_guard(MACH_PORT_NULL, 77) == KERN_INVALID_RIGHT);
  CHECK(assert_guard(port ^ 4, 77) == KERN_INVALID_NAME);
  // The flavor can only be asserted.
  mach_port_guard_info_t info{};
  mach_msg_type_number_t count = MACH_PORT_GUARD_INFO_COUNT;
  CHECK(mach_port_get_attributes(mach_task_self(), port, MACH_PORT_GUARD_INFO,
                                 reinterpret_cast<mach_port_info_t>(&info),
                                 &count) == KERN_INVALID_ARGUMENT);
}

TEST_CASE("assert_attributes raises a guard exception for a wrong, a lax and no guard" *
          doctest::skip(!has_many_tasks())) {
  const task guarded = create_task();
  set_guard_behaviour(guarded, guard_behaviour::record);
  {
    const current_task_guard there(guarded);
    const mach_port_name_t port = new_port();
    CHECK(assert_guard(port, 77) == KERN_INVALID_ARGUMENT);
    REQUIRE(mach_port_guard(mach_task_self(), port, 77, 0) == KERN_SUCCESS);
    CHECK(assert_guard(port, 77) == KERN_INVALID_ARGUMENT);
    REQUIRE(mach_port_unguard(mach_task_self(), port, 77) == KERN_SUCCESS);
    REQUIRE(mach_port_guard(mach_task_self(), port, 77, 1) == KERN_SUCCESS);
    CHECK(assert_guard(port, 78) == KERN_INVALID_ARGUMENT);
  }
  const std::vector<guard_exception> raised = take_guard_exceptions(guarded);
  REQUIRE(raised.size() == 3);
  CHECK(raised[0].code == kGUARD_EXC_UNGUARDED);
  CHECK(raised[1].code == kGUARD_EXC_INCORRECT_GUARD);
  CHECK(raised[2].code == kGUARD_EXC_INCORRECT_GUARD);
  CHECK(raised[2].subcode == 77);
  terminate_task(guarded);
}
