// Services by name (as launchd answers), and the special ports of a task (ipc_tt.c).
#include <doctest/doctest.h>

#include <bootstrap_priv.h>
#include <mach/task.h>

#include <string>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "test_message.h"

using namespace test;

namespace {

namespace kernel = kedge::mach::kernel;

// The name of a service as a char array. All cases share one process, so each uses its own names.
struct service_name {
  explicit service_name(const char* name) : text(name) {}
  operator char*() { return text.data(); }
  std::string text;
};

mach_port_t check_in(const char* name) {
  mach_port_t port = MACH_PORT_NULL;
  CHECK(bootstrap_check_in(bootstrap_port, name, &port) == BOOTSTRAP_SUCCESS);
  return port;
}

mach_port_t look_up(const char* name) {
  mach_port_t port = MACH_PORT_NULL;
  CHECK(bootstrap_look_up(bootstrap_port, name, &port) == BOOTSTRAP_SUCCESS);
  return port;
}

kern_return_t result_of_look_up(const char* name) {
  mach_port_t port = 1;
  const kern_return_t result = bootstrap_look_up(bootstrap_port, name, &port);
  if (result != KERN_SUCCESS) CHECK(port == MACH_PORT_NULL);
  return result;
}

// On Darwin a process is one task.
const auto several_tasks = doctest::skip(!kernel::has_many_tasks());

}  // namespace

TEST_CASE("check_in gives the receive right of a service, and look_up send rights") {
  const mach_port_t service = check_in("org.kedge.test.plain");
  CHECK(type_of(service) == MACH_PORT_TYPE_RECEIVE);
  CHECK(status_of(service).mps_mscount == 0);
  CHECK(status_of(service).mps_srights);
  const mach_port_t send = look_up("org.kedge.test.plain");
  CHECK(send == service);
  CHECK(type_of(service) == MACH_PORT_TYPE_SEND_RECEIVE);
  look_up("org.kedge.test.plain");
  CHECK(refs_of(send, MACH_PORT_RIGHT_SEND) == 2);
  CHECK(message(send, MACH_MSG_TYPE_COPY_SEND, 6).send() == MACH_MSG_SUCCESS);
  CHECK(next_id(service) == 6);
}

TEST_CASE("look_up and status of an unknown service give BOOTSTRAP_UNKNOWN_SERVICE") {
  CHECK(result_of_look_up("org.kedge.test.unknown") == BOOTSTRAP_UNKNOWN_SERVICE);
  CHECK(result_of_look_up("") == BOOTSTRAP_UNKNOWN_SERVICE);
  bootstrap_status_t status = 7;
  CHECK(bootstrap_status(bootstrap_port, service_name("org.kedge.test.unknown"), &status) ==
        BOOTSTRAP_UNKNOWN_SERVICE);
  CHECK(status == 7);
}

TEST_CASE("a second check_in fails until the first server's port has died") {
  const mach_port_t service = check_in("org.kedge.test.once");
  mach_port_t again = 1;
  CHECK(bootstrap_check_in(bootstrap_port, "org.kedge.test.once", &again) ==
        BOOTSTRAP_SERVICE_ACTIVE);
  CHECK(again == MACH_PORT_NULL);
  const mach_port_t send = look_up("org.kedge.test.once");
  REQUIRE(mach_port_deallocate(mach_task_self(), send) == KERN_SUCCESS);
  REQUIRE(end_receive(service) == KERN_SUCCESS);
  CHECK(result_of_look_up("org.kedge.test.once") == BOOTSTRAP_UNKNOWN_SERVICE);
  const mach_port_t next = check_in("org.kedge.test.once");
  CHECK(type_of(next) == MACH_PORT_TYPE_RECEIVE);
  CHECK(look_up("org.kedge.test.once") == next);
}

TEST_CASE("a service made by create_service queues messages until its server checks in") {
  mach_port_t send = MACH_PORT_NULL;
  service_name name("org.kedge.test.created");
  REQUIRE(bootstrap_create_service(bootstrap_port, name, &send) == BOOTSTRAP_SUCCESS);
  CHECK(type_of(send) == MACH_PORT_TYPE_SEND);
  bootstrap_status_t status = 7;
  CHECK(bootstrap_status(bootstrap_port, name, &status) == BOOTSTRAP_SUCCESS);
  CHECK(status == BOOTSTRAP_STATUS_ON_DEMAND);
  REQUIRE(message(send, MACH_MSG_TYPE_COPY_SEND, 4).send() == MACH_MSG_SUCCESS);
  CHECK(check_in(name) == send);
  CHECK(type_of(send) == MACH_PORT_TYPE_SEND_RECEIVE);
  CHECK(next_id(send) == 4);
  CHECK(bootstrap_status(bootstrap_port, name, &status) == BOOTSTRAP_SUCCESS);
  CHECK(status == BOOTSTRAP_STATUS_ACTIVE);
  CHECK(bootstrap_create_service(bootstrap_port, name, &send) == BOOTSTRAP_SERVICE_ACTIVE);
}

TEST_CASE("register gives a name to a port by a send right, once, until the port dies") {
  service_name name("org.kedge.test.registered");
  const mach_port_t port = new_port();
  CHECK(bootstrap_register(bootstrap_port, name, port) == MACH_SEND_INVALID_RIGHT);
  REQUIRE(mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND) ==
          KERN_SUCCESS);
  CHECK(bootstrap_register(bootstrap_port, name, port) == BOOTSTRAP_SUCCESS);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(look_up(name) == port);
  CHECK(bootstrap_register(bootstrap_port, name, port) == BOOTSTRAP_SERVICE_ACTIVE);
  end_receive(port);
  CHECK(result_of_look_up(name) == BOOTSTRAP_UNKNOWN_SERVICE);
  CHECK(bootstrap_register(bootstrap_port, name, MACH_PORT_NULL) == BOOTSTRAP_SUCCESS);
}

TEST_CASE("register with MACH_PORT_NULL removes a service that has no server") {
  service_name name("org.kedge.test.taken_back");
  mach_port_t send = MACH_PORT_NULL;
  REQUIRE(bootstrap_create_service(bootstrap_port, name, &send) == BOOTSTRAP_SUCCESS);
  CHECK(bootstrap_register(bootstrap_port, name, send) == BOOTSTRAP_NOT_PRIVILEGED);
  CHECK(bootstrap_register(bootstrap_port, name, MACH_PORT_NULL) == BOOTSTRAP_SUCCESS);
  CHECK(type_of(send) == MACH_PORT_TYPE_DEAD_NAME);
  CHECK(result_of_look_up(name) == BOOTSTRAP_UNKNOWN_SERVICE);
}

TEST_CASE("the first 127 bytes of a service name are significant") {
  const std::string start(127, 'n');
  const mach_port_t service = check_in((start + "one").c_str());
  CHECK(look_up((start + "two").c_str()) == service);
  CHECK(result_of_look_up(start.substr(1).c_str()) == BOOTSTRAP_UNKNOWN_SERVICE);
  end_receive(service);
}

TEST_CASE("bootstrap calls refuse names that are not the bootstrap port") {
  mach_port_t port = MACH_PORT_NULL;
  CHECK(bootstrap_look_up(MACH_PORT_NULL, "org.kedge.test.x", &port) == MACH_SEND_INVALID_DEST);
  CHECK(bootstrap_look_up(MACH_PORT_DEAD, "org.kedge.test.x", &port) == MACH_SEND_INVALID_DEST);
  CHECK(bootstrap_check_in(0x00fff703, "org.kedge.test.x", &port) == MACH_SEND_INVALID_DEST);
  CHECK(bootstrap_check_in(new_port(), "org.kedge.test.x", &port) == MACH_SEND_INVALID_DEST);
  CHECK(bootstrap_check_in(mach_task_self(), "org.kedge.test.x", &port) == MIG_BAD_ID);
  CHECK(port == MACH_PORT_NULL);
}

TEST_CASE(
    "parent, subset and create_server are not privileged, and unprivileged gives the same port") {
  mach_port_t port = 1;
  CHECK(bootstrap_parent(bootstrap_port, &port) == BOOTSTRAP_NOT_PRIVILEGED);
  CHECK(port == MACH_PORT_NULL);
  CHECK(bootstrap_subset(bootstrap_port, mach_task_self(), &port) == BOOTSTRAP_NOT_PRIVILEGED);
  service_name command("/bin/true");
  CHECK(bootstrap_create_server(bootstrap_port, command, 0, FALSE, &port) ==
        BOOTSTRAP_NOT_PRIVILEGED);
  const mach_port_urefs_t before = refs_of(bootstrap_port, MACH_PORT_RIGHT_SEND);
  CHECK(bootstrap_unprivileged(bootstrap_port, &port) == BOOTSTRAP_SUCCESS);
  CHECK(port == bootstrap_port);
  CHECK(refs_of(bootstrap_port, MACH_PORT_RIGHT_SEND) == before + 1);
  CHECK(mach_port_deallocate(mach_task_self(), port) == KERN_SUCCESS);
}

TEST_CASE("bootstrap_strerror has a text of its own for each bootstrap code") {
  for (const kern_return_t code : {0, 1100, 1101, 1102, 1103, 1104, 1105, 1106}) {
    CAPTURE(code);
    CHECK(std::string(bootstrap_strerror(code)) != mach_error_string(code));
  }
  CHECK(std::string(bootstrap_strerror(KERN_INVALID_NAME)) == mach_error_string(KERN_INVALID_NAME));
}

TEST_CASE("a service name belongs to the task that made it, and ends with that task" *
          several_tasks) {
  const kernel::task server = kernel::create_task(), other = kernel::create_task();
  mach_port_t theirs = MACH_PORT_NULL;
  {
    const kernel::current_task_guard there(server);
    theirs = check_in("org.kedge.test.server");
    service_name declared("org.kedge.test.declared");
    mach_port_t send = MACH_PORT_NULL;
    CHECK(bootstrap_create_service(bootstrap_port, declared, &send) == BOOTSTRAP_SUCCESS);
  }
  const mach_port_t send = look_up("org.kedge.test.server");
  const mach_port_t waiting = look_up("org.kedge.test.declared");
  const mach_port_name_t notify = new_port();
  REQUIRE(request(send, MACH_NOTIFY_DEAD_NAME, 0, notify) == KERN_SUCCESS);
  {
    const kernel::current_task_guard there(other);
    mach_port_t port = MACH_PORT_NULL;
    service_name name("org.kedge.test.server");
    CHECK(bootstrap_check_in(bootstrap_port, "org.kedge.test.server", &port) ==
          BOOTSTRAP_NOT_PRIVILEGED);
    CHECK(bootstrap_check_in(bootstrap_port, "org.kedge.test.declared", &port) ==
          BOOTSTRAP_NOT_PRIVILEGED);
    CHECK(bootstrap_register(bootstrap_port, name, MACH_PORT_NULL) == BOOTSTRAP_NOT_PRIVILEGED);
    CHECK(bootstrap_create_service(bootstrap_port, name, &port) == BOOTSTRAP_NOT_PRIVILEGED);
  }
  REQUIRE(message(send, MACH_MSG_TYPE_COPY_SEND, 11).send() == MACH_MSG_SUCCESS);
  {
    const kernel::current_task_guard there(server);
    CHECK(next_id(theirs) == 11);
  }
  kernel::terminate_task(server);
  CHECK(next_id(notify) == MACH_NOTIFY_DEAD_NAME);
  CHECK(type_of(waiting) == MACH_PORT_TYPE_DEAD_NAME);
  CHECK(result_of_look_up("org.kedge.test.server") == BOOTSTRAP_UNKNOWN_SERVICE);
  CHECK(result_of_look_up("org.kedge.test.declared") == BOOTSTRAP_UNKNOWN_SERVICE);
  end_receive(check_in("org.kedge.test.server"));
  kernel::terminate_task(other);
}

TEST_CASE("get_service_port_info gives the name of a service to its server alone") {
  const mach_port_t service = check_in("org.kedge.test.info");
  mach_service_port_info_data_t info{};
  CHECK(mach_port_get_service_port_info(mach_task_self(), service, &info) == KERN_SUCCESS);
  CHECK(std::string(info.mspi_string_name) == "org.kedge.test.info");
  std::uint64_t policy = 7;
  CHECK(mach_port_is_connection_for_service(mach_task_self(), new_port(), service, &policy) ==
        KERN_SUCCESS);
  CHECK(policy == 0);
  // A port with a name is not a service that bootstrap has made.
  const mach_port_t own = new_service();
  service_name name("org.kedge.test.info.own");
  REQUIRE(bootstrap_register(bootstrap_port, name, own) == BOOTSTRAP_SUCCESS);
  CHECK(mach_port_get_service_port_info(mach_task_self(), own, &info) == KERN_INVALID_CAPABILITY);
}

TEST_CASE("mach_port_special_reply_port_reset_link is KERN_NOT_SUPPORTED") {
  boolean_t lost = 7;
  CHECK(mach_port_special_reply_port_reset_link(mach_task_self(), new_port(), &lost) ==
        KERN_NOT_SUPPORTED);
  CHECK(lost == 7);
}

TEST_CASE("100 services are checked in and destroyed three times") {
  std::vector<mach_port_t> ports;
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    for (int each = 0; each < 100; ++each) {
      ports.push_back(check_in(("org.kedge.test.many." + std::to_string(each)).c_str()));
    }
    CHECK(look_up("org.kedge.test.many.50") == ports[50]);
    for (const mach_port_t each : ports) {
      CAPTURE(each);
      CHECK(mach_port_destruct(mach_task_self(), each, type_of(each) & MACH_PORT_TYPE_SEND ? -1 : 0,
                               0) == KERN_SUCCESS);
    }
    ports.clear();
    CHECK(result_of_look_up("org.kedge.test.many.50") == BOOTSTRAP_UNKNOWN_SERVICE);
  }
}

TEST_CASE("get_special_port gives the task, bootstrap, host and debug control ports") {
  mach_port_t port = MACH_PORT_NULL;
  const mach_port_urefs_t before = refs_of(mach_task_self(), MACH_PORT_RIGHT_SEND);
  CHECK(task_get_kernel_port(mach_task_self(), &port) == KERN_SUCCESS);
  CHECK(port == mach_task_self());
  CHECK(refs_of(mach_task_self(), MACH_PORT_RIGHT_SEND) == before + 1);
  CHECK(mach_port_deallocate(mach_task_self(), port) == KERN_SUCCESS);
  CHECK(task_get_bootstrap_port(mach_task_self(), &port) == KERN_SUCCESS);
  CHECK(port == bootstrap_port);
  CHECK(mach_port_deallocate(mach_task_self(), port) == KERN_SUCCESS);
  CHECK(task_get_host_port(mach_task_self(), &port) == KERN_SUCCESS);
  CHECK(type_of(port) == MACH_PORT_TYPE_SEND);
  CHECK(mach_port_deallocate(mach_task_self(), port) == KERN_SUCCESS);
  CHECK(task_get_debug_control_port(mach_task_self(), &port) == KERN_SUCCESS);
  CHECK(port == MACH_PORT_NULL);
  CHECK(task_get_special_port(mach_task_self(), 99, &port) == KERN_INVALID_ARGUMENT);
  CHECK(task_get_special_port(MACH_PORT_NULL, TASK_BOOTSTRAP_PORT, &port) != KERN_SUCCESS);
}

TEST_CASE("set_special_port sets the debug control port, and refuses the task and host ports") {
  const mach_port_t port = new_service();
  CHECK(task_set_kernel_port(mach_task_self(), port) == KERN_NO_ACCESS);
  CHECK(task_set_host_port(mach_task_self(), port) == KERN_NO_ACCESS);
  CHECK(task_set_special_port(mach_task_self(), 99, port) == KERN_INVALID_ARGUMENT);
  CHECK(task_set_special_port(mach_task_self(), TASK_DEBUG_CONTROL_PORT, new_port()) ==
        MACH_SEND_INVALID_RIGHT);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 1);
  CHECK(task_set_task_debug_control_port(mach_task_self(), port) == KERN_SUCCESS);
  mach_port_t back = MACH_PORT_NULL;
  CHECK(task_get_debug_control_port(mach_task_self(), &back) == KERN_SUCCESS);
  CHECK(back == port);
  CHECK(refs_of(port, MACH_PORT_RIGHT_SEND) == 2);
  SUBCASE("after the port has died, get_special_port gives MACH_PORT_DEAD") {
    end_receive(port);
    CHECK(task_get_debug_control_port(mach_task_self(), &back) == KERN_SUCCESS);
    CHECK(back == MACH_PORT_DEAD);
  }
  SUBCASE("setting MACH_PORT_NULL releases the port") {
    CHECK(task_set_task_debug_control_port(mach_task_self(), MACH_PORT_NULL) == KERN_SUCCESS);
    CHECK(mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_SEND, -2) == KERN_SUCCESS);
    CHECK_FALSE(status_of(port).mps_srights);
  }
  task_set_task_debug_control_port(mach_task_self(), MACH_PORT_NULL);
}

TEST_CASE("a new task inherits its creator's bootstrap port and registered ports" * several_tasks) {
  const mach_port_t port = new_service(), registered = new_service();
  mach_port_t standard = MACH_PORT_NULL;
  REQUIRE(task_get_bootstrap_port(mach_task_self(), &standard) == KERN_SUCCESS);
  REQUIRE(task_set_bootstrap_port(mach_task_self(), port) == KERN_SUCCESS);
  mach_port_t ports[] = {registered, MACH_PORT_NULL};
  REQUIRE(mach_ports_register(mach_task_self(), ports, 2) == KERN_SUCCESS);
  const kernel::task child = kernel::create_task();
  REQUIRE(task_set_bootstrap_port(mach_task_self(), standard) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(mach_task_self(), standard) == KERN_SUCCESS);
  {
    const kernel::current_task_guard there(child);
    CHECK(message(bootstrap_port, MACH_MSG_TYPE_COPY_SEND, 5).send() == MACH_MSG_SUCCESS);
    mach_port_array_t found = nullptr;
    mach_msg_type_number_t count = 0;
    REQUIRE(mach_ports_lookup(mach_task_self(), &found, &count) == KERN_SUCCESS);
    REQUIRE(count == 3);
    CHECK(message(found[0], MACH_MSG_TYPE_COPY_SEND, 6).send() == MACH_MSG_SUCCESS);
    CHECK(found[1] == MACH_PORT_NULL);
    CHECK(found[2] == MACH_PORT_NULL);
    vm_deallocate(mach_task_self(), reinterpret_cast<vm_address_t>(found), 3 * sizeof(mach_port_t));
  }
  CHECK(next_id(port) == 5);
  CHECK(next_id(registered) == 6);
  kernel::terminate_task(child);
  CHECK(mach_ports_register(mach_task_self(), ports, 0) == KERN_SUCCESS);
  CHECK(mach_port_deallocate(mach_task_self(), port) == KERN_SUCCESS);
  CHECK_FALSE(status_of(port).mps_srights);
  CHECK(mach_port_deallocate(mach_task_self(), registered) == KERN_SUCCESS);
  CHECK_FALSE(status_of(registered).mps_srights);
}

TEST_CASE("mach_ports_register refuses four ports and a name without a send right") {
  mach_port_t many[4]{};
  CHECK(mach_ports_register(mach_task_self(), many, 4) == KERN_INVALID_ARGUMENT);
  const mach_port_t good = new_service();
  mach_port_t bad[] = {good, new_port()};
  CHECK(mach_ports_register(mach_task_self(), bad, 2) == MACH_SEND_INVALID_RIGHT);
  CHECK(mach_port_deallocate(mach_task_self(), good) == KERN_SUCCESS);
  CHECK_FALSE(status_of(good).mps_srights);
}

TEST_CASE("create_service and check_in in a full space fail and make no service" * several_tasks) {
  const kernel::task full = kernel::create_task();
  kernel::limit_names(full, 0);
  mach_port_t port = MACH_PORT_NULL;
  {
    const kernel::current_task_guard there(full);
    service_name name("org.kedge.test.no-space");
    CHECK(bootstrap_create_service(bootstrap_port, name, &port) == KERN_NO_SPACE);
    CHECK(bootstrap_check_in(bootstrap_port, name, &port) == KERN_NO_SPACE);
  }
  CHECK(result_of_look_up("org.kedge.test.no-space") == BOOTSTRAP_UNKNOWN_SERVICE);
  kernel::terminate_task(full);
}

TEST_CASE("mach_ports_lookup in a space with room for one name fails and adds no name" *
          several_tasks) {
  const mach_port_t registered = new_service();
  mach_port_t ports[] = {registered, new_service()};
  REQUIRE(mach_ports_register(mach_task_self(), ports, 2) == KERN_SUCCESS);
  const kernel::task child = kernel::create_task();
  kernel::limit_names(child, 1);
  {
    const kernel::current_task_guard there(child);
    mach_port_array_t found = nullptr;
    mach_msg_type_number_t count = 0;
    CHECK(mach_ports_lookup(mach_task_self(), &found, &count) == KERN_NO_SPACE);
    CHECK(new_port() != MACH_PORT_NULL);
  }
  kernel::terminate_task(child);
  CHECK(mach_ports_register(mach_task_self(), ports, 0) == KERN_SUCCESS);
}

TEST_CASE("bootstrap_register2 registers as bootstrap_register does, whatever its flags") {
  service_name name("kedge.register2");
  const mach_port_t port = new_service();
  CHECK(bootstrap_register2(bootstrap_port, name, port, BOOTSTRAP_PER_PID_SERVICE) ==
        BOOTSTRAP_SUCCESS);
  CHECK(look_up("kedge.register2") == port);
  CHECK(bootstrap_register2(bootstrap_port, name, port, 0) == BOOTSTRAP_SERVICE_ACTIVE);
}
