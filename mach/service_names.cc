// Implements service_names with the bootstrap_*() calls of launchd's library.
#include "kedge/mach/service_names.h"

#include <mach/mach.h>

#include <utility>

#include "kedge/mach/error.h"

// <servers/bootstrap.h> of Darwin. The SDK for cross-compiling lacks the header, and the library
// that defines them is a part of libSystem.
extern "C" {
kern_return_t bootstrap_check_in(mach_port_t bp, const char* service_name, mach_port_t* sp);
kern_return_t bootstrap_look_up(mach_port_t bp, const char* service_name, mach_port_t* sp);
kern_return_t bootstrap_register(mach_port_t bp, char* service_name, mach_port_t sp);
}

namespace kedge::mach {
namespace {

// BOOTSTRAP_* of <servers/bootstrap.h>.
enum bootstrap_code : kern_return_t {
  not_privileged = 1100,
  name_in_use = 1101,
  unknown_service = 1102,
  service_active = 1103,
};

// BOOTSTRAP_MAX_NAME_LEN, without the zero at the end. The calls cut longer names off, so that two
// services would share one name.
constexpr std::size_t longest_name = 127;

std::error_code error_of(kern_return_t code) noexcept {
  switch (code) {
    case not_privileged:
      return errc::not_privileged;
    case unknown_service:
      return errc::unknown_service;
    case name_in_use:
    case service_active:
      return errc::name_in_use;
    default:
      return kern_error(code);
  }
}

unexpected<name_error> failure(const char* call, const std::string& name, std::error_code code,
                               const char* remedy = "") {
  return unexpected(name_error(
      code, std::string("kedge::mach::") + call + " " + name + ": " + code.message() + remedy));
}

bool is_valid(const std::string& name) noexcept {
  return !name.empty() && name.size() <= longest_name && name.find('\0') == std::string::npos;
}

unexpected<name_error> refused_name(const char* call, const std::string& name) {
  return failure(call, name.substr(0, longest_name),
                 std::make_error_code(std::errc::invalid_argument),
                 " (a name has 1 to 127 bytes, and no zero)");
}

// The bootstrap port of the current task. `bootstrap_port` of the C library would be that of the
// process.
send_right current_bootstrap_port() {
  mach_port_t name = MACH_PORT_NULL;
  check(task_get_special_port(mach_task_self(), TASK_BOOTSTRAP_PORT, &name),
        "task_get_special_port");
  return send_right::adopt(name);
}

}  // namespace

service_names::service_names(std::string_view prefix) : prefix_(prefix) {
  prefix_ += '.';
}

service_names service_names::within(std::string_view part) const {
  return service_names(whole(part));
}

result<receive_right, name_error> service_names::check_in(std::string_view name,
                                                          const place& where) const {
  const std::string all = whole(name);
  if (!is_valid(all)) return refused_name("check_in", all);
  mach_port_t port = MACH_PORT_NULL;
  const kern_return_t code =
      bootstrap_check_in(current_bootstrap_port().name(), all.c_str(), &port);
  if (code == KERN_SUCCESS) {
    try {
      // launchd has requested the return of the port (MACH_NOTIFY_PORT_DESTROYED).
      return receive_right::adopt_revocable(port, where);
    } catch (...) {
      // A right that is kept by its name alone would keep the name of the service too.
      mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1);
      throw;
    }
  }
  return failure(
      "check_in", all, error_of(code),
      code == unknown_service ? " (a launchd job declares its names in MachServices)" : "");
}

result<send_right, name_error> service_names::look_up(std::string_view name,
                                                      const place& where) const {
  const std::string all = whole(name);
  if (!is_valid(all)) return refused_name("look_up", all);
  mach_port_t port = MACH_PORT_NULL;
  const kern_return_t code = bootstrap_look_up(current_bootstrap_port().name(), all.c_str(), &port);
  if (code == KERN_SUCCESS) return send_right::adopt(port, where);
  return failure("look_up", all, error_of(code));
}

result<receive_right, name_error> service_names::register_service(std::string_view name,
                                                                  const place& where) const {
  std::string all = whole(name);
  if (!is_valid(all)) return refused_name("register_service", all);
  receive_right port = receive_right::make(MACH_PORT_QLIMIT_DEFAULT, where);
  const kern_return_t code =
      bootstrap_register(current_bootstrap_port().name(), all.data(), port.make_send(where).name());
  if (code == KERN_SUCCESS) return port;
  return failure("register_service", all, error_of(code));
}

}  // namespace kedge::mach
