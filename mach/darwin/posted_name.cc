// Implements posted_name with notify_register_mach_port().
#include "kedge/mach/darwin/posted_name.h"

#include <mach/mach.h>

#include <cstdint>
#include <stdexcept>
#include <utility>

// <notify.h> of Darwin (Libnotify, notify.h), which the SDK for cross-compiling lacks. The
// functions are in libSystem.
extern "C" {
std::uint32_t notify_post(const char* name);
std::uint32_t notify_register_mach_port(const char* name, mach_port_t* notify_port, int flags,
                                        int* out_token);
std::uint32_t notify_cancel(int token);
std::uint32_t notify_get_state(int token, std::uint64_t* state64);
std::uint32_t notify_set_state(int token, std::uint64_t state64);
}

namespace kedge::mach::darwin {
namespace {

// NOTIFY_STATUS_OK is 0.
void check_status(std::uint32_t status, const char* call, const std::string& name) {
  if (status == 0) return;
  throw std::runtime_error(std::string("kedge::mach::darwin: ") + call + " " + name + ": status " +
                           std::to_string(status));
}

}  // namespace

posted_name::posted_name(std::string name) : name_(std::move(name)) {
  mach_port_t port = MACH_PORT_NULL;
  check_status(notify_register_mach_port(name_.c_str(), &port, 0, &token_),
               "notify_register_mach_port", name_);
  try {
    port_.emplace(port);
  } catch (...) {
    notify_cancel(token_);
    throw;
  }
}

// The port belongs to notify(3), which destroys it with its last token.
posted_name::~posted_name() {
  port_.reset();
  notify_cancel(token_);
}

task<result<void>> posted_name::next() const {
  const result<received> posted = co_await port_->receive();
  if (!posted) co_return posted.failure();
  co_return {};
}

std::uint64_t posted_name::state() const {
  std::uint64_t state = 0;
  check_status(notify_get_state(token_, &state), "notify_get_state", name_);
  return state;
}

void posted_name::set_state(std::uint64_t state) {
  check_status(notify_set_state(token_, state), "notify_set_state", name_);
}

void post(const std::string& name) {
  check_status(notify_post(name.c_str()), "notify_post", name);
}

}  // namespace kedge::mach::darwin
