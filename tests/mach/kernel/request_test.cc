// The plain data of a call (core/request.h), looked at from inside.
#include "kedge/mach/kernel/core/request.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "kedge/mach/kernel/core/attachment.h"

using kedge::mach::kernel::all_requests;
using kedge::mach::kernel::any_reply;
using kedge::mach::kernel::any_request;
using kedge::mach::kernel::attachment;
using kedge::mach::kernel::call_number;
namespace replies = kedge::mach::kernel::replies;
namespace requests = kedge::mach::kernel::requests;

namespace {

std::vector<std::byte> bytes_of(const any_request& request) {
  return {request.body().begin(), request.body().end()};
}

int last_closed = -1;

void close_and_remember(int fd) noexcept {
  last_closed = fd;
}

}  // namespace

TEST_CASE("a request that is sent as bytes arrives with every field") {
  const any_request sent(requests::destruct{.name = 0x1003, .send_delta = -2, .guard = 1ull << 40},
                         0x103);
  any_request arrived;
  REQUIRE(arrived.assign(static_cast<std::uint32_t>(sent.number), sent.target, bytes_of(sent)));
  CHECK(arrived.number == call_number::destruct);
  CHECK(arrived.target == 0x103);
  const auto& asked = arrived.as<requests::destruct>();
  CHECK(asked.name == 0x1003);
  CHECK(asked.send_delta == -2);
  CHECK(asked.guard == 1ull << 40);
}

TEST_CASE("a request without fields is sent as no bytes") {
  const any_request sent(requests::check_task{}, 0x103);
  CHECK(bytes_of(sent).empty());
  any_request arrived;
  CHECK(arrived.assign(static_cast<std::uint32_t>(call_number::check_task), 0x103, {}));
}

TEST_CASE("bytes of an unknown call or of the wrong length make no request") {
  const any_request sent(requests::get_refs{.name = 0x1003, .right = 0}, 0x103);
  const auto number = static_cast<std::uint32_t>(sent.number);
  std::vector<std::byte> bytes = bytes_of(sent);
  any_request arrived;
  CHECK_FALSE(arrived.assign(all_requests::count, 0x103, bytes));
  CHECK_FALSE(arrived.assign(~std::uint32_t{0}, 0x103, bytes));
  bytes.push_back(std::byte{0});
  CHECK_FALSE(arrived.assign(number, 0x103, bytes));
  bytes.resize(1);
  CHECK_FALSE(arrived.assign(number, 0x103, bytes));
  CHECK_FALSE(arrived.assign(number, 0x103, {}));
  CHECK(arrived.number == call_number::message);
}

TEST_CASE("a reply is zero until the call writes it, and is sent with what was written") {
  any_reply written;
  CHECK(written.as<replies::peek>().trailer_size == 0);
  written.as<replies::peek>() = {.sequence_number = 1, .size = 2, .id = -3, .trailer_size = 4};
  any_reply arrived;
  std::copy(written.body().begin(), written.body().end(), arrived.body().begin());
  CHECK(arrived.as<replies::peek>().sequence_number == 1);
  CHECK(arrived.as<replies::peek>().size == 2);
  CHECK(arrived.as<replies::peek>().id == -3);
  CHECK(arrived.as<replies::peek>().trailer_size == 4);
}

TEST_CASE("an attachment closes its file once, unless it was handed over") {
  {
    const attachment file(7, close_and_remember);
  }
  CHECK(last_closed == 7);
  last_closed = -1;
  {
    attachment first(8, close_and_remember);
    attachment second = std::move(first);
    CHECK_FALSE(first);
    attachment third;
    third = std::move(second);
    CHECK(last_closed == -1);
    CHECK(third.release() == 8);
  }
  CHECK(last_closed == -1);
}
