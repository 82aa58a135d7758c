// check_in(), look_up(), register_service(): services by name.
// service_names: a part of the name space, in which every name has a prefix.
//
//     mach::receive_right port = mach::check_in("org.example.letters").value();    // the service
//     mach::send_right letters = mach::look_up("org.example.letters").value();     // its clients
//
// The names are those that the bootstrap port of the current task leads to: launchd's on Darwin,
// else those of the Mach kernel in this process. launchd answers check_in() only for a name that
// the job of the caller declares (MachServices), and may start the service on look_up(). The kernel
// in the process knows no jobs: check_in() makes the name.
//
// register_service() needs no job. It is for tests and for development, as Apple says of
// bootstrap_register(), by which it works.
//
//     const mach::service_names names("org.example.test.4711");
//     auto port = names.register_service("letters").value();   // org.example.test.4711.letters
//
// Ownership: a name ends with the receive right. What check_in() gives can return to launchd when
// it is destroyed, with the queued requests, for the next instance of the service.
//
// Errors: a name_error, whose text says which name and what to do: errc::unknown_service;
// errc::name_in_use, for a name of another port or task; errc::not_privileged, which is a sandbox's
// answer too; std::errc::invalid_argument for a name that is empty, longer than 127 bytes or has a
// zero in it; or the code of the call (category "mach.kern"). Throw std::bad_alloc, and
// std::system_error where receive_right does.
//
// Threads: any. A call to launchd blocks until launchd has answered, which takes a local message
// and its reply.
#pragma once

#include <string>
#include <string_view>
#include <system_error>

#include "kedge/mach/ledger.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/result.h"

namespace kedge::mach {

// Why a name was not found or made.
class name_error {
 public:
  name_error(std::error_code code, std::string text) : code_(code), text_(std::move(text)) {}
  std::error_code code() const noexcept { return code_; }
  // For example: look_up org.example.letters: no service has this name
  const std::string& text() const noexcept { return text_; }

 private:
  std::error_code code_;
  std::string text_;
};

class service_names {
 public:
  // All names.
  service_names() = default;
  // The names that begin with `prefix` and a dot, which the functions below put in front.
  explicit service_names(std::string_view prefix);
  // Those of these names that begin with `part` and a dot.
  service_names within(std::string_view part) const;
  // The whole name of the service.
  std::string whole(std::string_view name) const { return prefix_ + std::string(name); }

  // Gives the receive right of the service.
  result<receive_right, name_error> check_in(std::string_view name,
                                             const place& where = place::current()) const;
  // Gives a send right to the service.
  result<send_right, name_error> look_up(std::string_view name,
                                         const place& where = place::current()) const;
  // Makes a port, and a service of it.
  result<receive_right, name_error> register_service(std::string_view name,
                                                     const place& where = place::current()) const;

 private:
  std::string prefix_;  // with the dot at its end
};

inline result<receive_right, name_error> check_in(std::string_view name,
                                                  const place& where = place::current()) {
  return service_names().check_in(name, where);
}
inline result<send_right, name_error> look_up(std::string_view name,
                                              const place& where = place::current()) {
  return service_names().look_up(name, where);
}
inline result<receive_right, name_error> register_service(std::string_view name,
                                                          const place& where = place::current()) {
  return service_names().register_service(name, where);
}

}  // namespace kedge::mach
