// worker: a service that counts the batches that are sent to it.
//
// It has one port for requests, and a right to send its answers by. It ends when its port is
// destroyed; what is in the queue then is lost, as with any service that dies.
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

  // Serves until the port is destroyed. The worker must outlive it.
  kedge::task<> serve();

  // Destroys the port.
  void kill() noexcept { requests_.destroy(); }

 private:
  kedge::mach::receive_right requests_;
  kedge::mach::send_right answers_;
};
