// worker: a service that counts the batches that it receives.
//
// It owns one port for requests, and a right for its answers. It ends when its port is destroyed.
// The queued requests are lost then, as with any service that dies.
#pragma once

#include <utility>

#include "kedge/mach/receive_right.h"
#include "kedge/mach/send_right.h"
#include "kedge/runtime/task.h"

class worker {
 public:
  explicit worker(kedge::mach::send_right answers)
      : requests_(kedge::mach::receive_right::make()), answers_(std::move(answers)) {}

  kedge::mach::send_right make_send() const { return requests_.make_send(); }

  // Answers requests until the port is destroyed. The worker must outlive the task.
  kedge::task<> serve();

  // Destroys the port, as the death of the service's process would.
  void kill() noexcept { requests_.destroy(); }

 private:
  kedge::mach::receive_right requests_;
  kedge::mach::send_right answers_;
};
