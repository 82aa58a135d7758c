// Vouchers (ipc_voucher.c): how they are made, and how messages carry them.
#include <doctest/doctest.h>

#include <mach/mach_host.h>

#include <cstring>
#include <vector>

#include "test_message.h"

using namespace test;

namespace {

// Recipes of a voucher, as host_create_mach_voucher() reads them.
class recipes {
 public:
  recipes& step(mach_voucher_attr_key_t key, mach_voucher_attr_recipe_command_t command,
                mach_port_name_t previous = MACH_PORT_NULL, std::size_t content = 0) {
    mach_voucher_attr_recipe_data_t one{};
    one.key = key;
    one.command = command;
    one.previous_voucher = previous;
    one.content_size = static_cast<mach_voucher_attr_content_size_t>(content);
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof one + content);
    std::memcpy(bytes_.data() + at, &one, sizeof one);
    return *this;
  }
  recipes& cut(std::size_t count) {
    bytes_.resize(bytes_.size() - count);
    return *this;
  }
  kern_return_t make(ipc_voucher_t& made) {
    return host_create_mach_voucher(mach_host_self(), bytes_.data(),
                                    static_cast<mach_msg_type_number_t>(bytes_.size()), &made);
  }
  kern_return_t make() {
    ipc_voucher_t none = MACH_PORT_DEAD;
    const kern_return_t result = make(none);
    CHECK(none == MACH_PORT_DEAD);
    return result;
  }

 private:
  std::vector<std::uint8_t> bytes_;
};

constexpr auto user_data = MACH_VOUCHER_ATTR_KEY_USER_DATA;
constexpr auto store = MACH_VOUCHER_ATTR_USER_DATA_STORE;

ipc_voucher_t new_voucher() {
  ipc_voucher_t made = MACH_PORT_NULL;
  REQUIRE(recipes().step(user_data, store, MACH_PORT_NULL, 8).make(made) == KERN_SUCCESS);
  return made;
}

void release(mach_port_name_t right) {
  CHECK(mach_port_deallocate(mach_task_self(), right) == KERN_SUCCESS);
}

// Makes a message with `voucher` in its header.
message with_voucher(mach_port_name_t to, mach_port_name_t voucher, mach_msg_type_name_t how) {
  message m(to, MACH_MSG_TYPE_COPY_SEND);
  m.header().msgh_bits |= MACH_MSGH_BITS_SET_PORTS(0u, 0u, how);
  m.header().msgh_voucher_port = voucher;
  return m;
}

}  // namespace

TEST_CASE("host_create_mach_voucher gives a send right, or MACH_PORT_NULL without recipes") {
  const ipc_voucher_t made = new_voucher();
  CHECK(type_of(made) == MACH_PORT_TYPE_SEND);
  CHECK(refs_of(made, MACH_PORT_RIGHT_SEND) == 1);
  release(made);
  ipc_voucher_t none = MACH_PORT_DEAD;
  CHECK(recipes().make(none) == KERN_SUCCESS);
  CHECK(none == MACH_PORT_NULL);
}

TEST_CASE("a recipe can copy another voucher") {
  const ipc_voucher_t first = new_voucher();
  ipc_voucher_t second = MACH_PORT_NULL;
  CHECK(recipes()
            .step(MACH_VOUCHER_ATTR_KEY_ALL, MACH_VOUCHER_ATTR_COPY, first)
            .step(user_data, MACH_VOUCHER_ATTR_REMOVE)
            .step(user_data, store, MACH_PORT_NULL, 3)
            .make(second) == KERN_SUCCESS);
  CHECK(MACH_PORT_VALID(second));
  release(first);
  release(second);
}

TEST_CASE("host_create_mach_voucher refuses malformed recipes and a port that is not the host") {
  const mach_port_name_t service = new_service();
  CHECK(recipes().step(user_data, store).cut(1).make() == KERN_INVALID_ARGUMENT);
  CHECK(recipes().step(user_data, store, MACH_PORT_NULL, 8).cut(1).make() == KERN_INVALID_ARGUMENT);
  CHECK(recipes().step(user_data, MACH_VOUCHER_ATTR_COPY, service).make() ==
        KERN_INVALID_CAPABILITY);
  CHECK(recipes().step(user_data, MACH_VOUCHER_ATTR_COPY, MACH_PORT_DEAD).make() ==
        KERN_INVALID_CAPABILITY);
  for (const auto command : {MACH_VOUCHER_ATTR_COPY, MACH_VOUCHER_ATTR_REMOVE}) {
    CAPTURE(command);
    CHECK(recipes().step(user_data, command, MACH_PORT_NULL, 1).make() == KERN_INVALID_ARGUMENT);
  }
  CHECK(recipes().step(user_data, MACH_VOUCHER_ATTR_SET_VALUE_HANDLE, MACH_PORT_NULL, 8).make() ==
        KERN_INVALID_CAPABILITY);
  CHECK(recipes().step(MACH_VOUCHER_ATTR_KEY_ALL, store).make() == KERN_INVALID_ARGUMENT);
  CHECK(recipes().step(MACH_VOUCHER_ATTR_KEY_NONE, store).make() == KERN_INVALID_ARGUMENT);
  CHECK(recipes()
            .step(user_data, store, MACH_PORT_NULL, MACH_VOUCHER_ATTR_MAX_RAW_RECIPE_ARRAY_SIZE)
            .make() == MIG_ARRAY_TOO_LARGE);
  ipc_voucher_t none = MACH_PORT_NULL;
  CHECK(host_create_mach_voucher(mach_host_self(), reinterpret_cast<std::uint8_t*>(0x10), 16,
                                 &none) == KERN_MEMORY_ERROR);
  CHECK(host_create_mach_voucher(service, nullptr, 0, &none) == MACH_SEND_INVALID_DEST);
  CHECK(host_create_mach_voucher(MACH_PORT_NULL, nullptr, 0, &none) == MACH_SEND_INVALID_DEST);
  CHECK(none == MACH_PORT_NULL);
}

TEST_CASE("a receive with MACH_RCV_VOUCHER gets the voucher of the message") {
  const mach_port_name_t port = new_service();
  const ipc_voucher_t made = new_voucher();
  REQUIRE(with_voucher(port, made, MACH_MSG_TYPE_COPY_SEND).send() == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port, MACH_RCV_VOUCHER) == MACH_MSG_SUCCESS);
  CHECK(MACH_MSGH_BITS_VOUCHER(got.header().msgh_bits) == MACH_MSG_TYPE_MOVE_SEND);
  CHECK(got.header().msgh_voucher_port == made);
  CHECK(refs_of(made, MACH_PORT_RIGHT_SEND) == 2);
  SUBCASE("mach_msg_destroy releases the voucher") {
    mach_msg_destroy(&got.header());
    CHECK(refs_of(made, MACH_PORT_RIGHT_SEND) == 1);
  }
  SUBCASE("the voucher can be moved into another message") {
    release(made);
    REQUIRE(with_voucher(port, made, MACH_MSG_TYPE_MOVE_SEND).send() == MACH_MSG_SUCCESS);
    CHECK(type_of(made) == 0);
    message again;
    REQUIRE(again.receive(port, MACH_RCV_VOUCHER) == MACH_MSG_SUCCESS);
    CHECK(type_of(again.header().msgh_voucher_port) == MACH_PORT_TYPE_SEND);
    release(again.header().msgh_voucher_port);
    return;
  }
  release(made);
}

TEST_CASE("a receive without MACH_RCV_VOUCHER releases the voucher") {
  const mach_port_name_t port = new_service();
  const ipc_voucher_t made = new_voucher();
  REQUIRE(with_voucher(port, made, MACH_MSG_TYPE_MOVE_SEND).send() == MACH_MSG_SUCCESS);
  message got;
  REQUIRE(got.receive(port) == MACH_MSG_SUCCESS);
  CHECK(MACH_MSGH_BITS_VOUCHER(got.header().msgh_bits) == 0);
  CHECK(got.header().msgh_voucher_port == MACH_PORT_NULL);
  CHECK(type_of(made) == 0);
}

TEST_CASE("a send with a right that is not a voucher fails and consumes nothing") {
  const mach_port_name_t port = new_service(), other = new_service();
  for (const mach_port_name_t bad : {other, mach_task_self(), mach_port_name_t{0x123400}}) {
    CAPTURE(bad);
    CHECK(with_voucher(port, bad, MACH_MSG_TYPE_COPY_SEND).send() == MACH_SEND_INVALID_VOUCHER);
  }
  const ipc_voucher_t made = new_voucher();
  CHECK(with_voucher(port, made, MACH_MSG_TYPE_MAKE_SEND).send() == MACH_SEND_INVALID_VOUCHER);
  CHECK(refs_of(made, MACH_PORT_RIGHT_SEND) == 1);
  release(made);
}
