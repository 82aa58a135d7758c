// device_watch: waits for devices that come and go, by I/O Kit.
//
//     mach::darwin::device_watch disks("IOMedia");
//     for (;;) {
//       mach::darwin::device_change c = (co_await disks.next()).value();
//       std::printf("%s %s\n", c.service.name().c_str(), c.has_come ? "has come" : "has gone");
//     }
//
// next() first gives the devices that are there when the watch is made.
//
// Errors: next() gives those of receive(). Cancellation loses nothing.
// Threads: the loop's thread only. Compiled for Darwin only, and never run so far. A program links
// the framework IOKit.
#pragma once

#include <mach/mach.h>

#include <optional>
#include <string>
#include <utility>

#include "kedge/mach/darwin/borrowed_port.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

// Of <IOKit/IOKitLib.h>.
struct IONotificationPort;

namespace kedge::mach::darwin {

// An object of I/O Kit: a service, or an iterator. Owns one reference.
class io_object {
 public:
  io_object() = default;
  explicit io_object(mach_port_t owned) noexcept : object_(owned) {}
  io_object(io_object&& other) noexcept
      : object_(std::exchange(other.object_, mach_port_t{MACH_PORT_NULL})) {}
  io_object& operator=(io_object&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~io_object();

  explicit operator bool() const noexcept { return object_ != MACH_PORT_NULL; }
  // For the functions of I/O Kit (io_object_t). The object keeps the reference.
  mach_port_t get() const noexcept { return object_; }
  // The name in the registry. Empty if I/O Kit has none.
  std::string name() const;

 private:
  mach_port_t object_ = MACH_PORT_NULL;
};

struct device_change {
  io_object service;
  bool has_come = false;  // false: it has gone
};

class device_watch {
 public:
  // Watches the services of a class, as "IOUSBHostDevice". Throws std::system_error and
  // std::bad_alloc.
  explicit device_watch(const char* service_class);
  device_watch(const device_watch&) = delete;
  device_watch& operator=(const device_watch&) = delete;
  // Ends a wait in progress with errc::closed.
  ~device_watch();

  // Waits for the next device that comes or goes.
  task<result<device_change>> next();

 private:
  std::optional<device_change> take() noexcept;
  void close() noexcept;

  IONotificationPort* notifications_;
  std::optional<borrowed_port> port_;
  io_object come_;  // iterators, which I/O Kit arms again when they are empty
  io_object gone_;
};

}  // namespace kedge::mach::darwin
