// notifier: tells the service manager what the program does (sd_notify(3) of systemd).
//
//     net::notifier manager = net::notifier::from_environment(loop);
//     co_await manager.send("READY=1");
//
// daemon.h sends what the protocol wants at the right times. Without a manager that listens, sends
// succeed and have no effect. NOTIFY_SOCKET names a Unix socket of datagrams: by a path, or with
// '@' in front by an abstract name. It and the variables of the watchdog are taken out of the
// environment.
//
// Messages arrive in the order of the calls. A send waits while the manager's queue is full; what a
// cancelled wait has not sent is lost. An awaitable may outlive the object, which may be moved.
//
// Threads: from_environment() is for main(), before there are threads; the others for the loop's
// thread only.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "kedge/net/service_environment.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::net {

class notifier {
 public:
  // Of no manager.
  notifier() = default;
  // Throws environment_error if the variables are wrong, or if no socket is at NOTIFY_SOCKET;
  // std::system_error and std::bad_alloc.
  static notifier from_environment(reactor& r);

  // Returns whether a manager listens.
  explicit operator bool() const noexcept { return manager_ != nullptr; }

  // Sends assignments such as "READY=1", one a line. Gives the system's error: ECONNREFUSED once
  // the manager has gone. Making the task throws std::bad_alloc.
  task<result<void>> send(std::string assignments) {
    return send_in_turn(manager_, std::move(assignments));
  }

  // Half of the time within which the manager wants a "WATCHDOG=1" each time. Nothing if it does
  // not watch this process.
  std::optional<clock::duration> watchdog_period() const noexcept { return watchdog_; }

 private:
  struct manager;
  static task<result<void>> send_in_turn(std::shared_ptr<manager> to, std::string assignments);

  std::shared_ptr<manager> manager_;  // null: there is no manager. Shared with tasks that send
  std::optional<clock::duration> watchdog_;
};

}  // namespace kedge::net
