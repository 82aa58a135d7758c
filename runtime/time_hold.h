// time_hold: keeps a virtual_time from jumping while something outside of it is under way.
//
//     const kedge::time_hold outside(loop);      // the peer of the socket is another process
//     const auto n = co_await socket.read_some(buffer);
//
// A virtual time jumps to the next deadline when its loops have nothing to do. What happens outside
// of them takes real time, so a time-out would always come first. While a hold lives, the loops
// wait for the kernel's events instead. A running offload() and a living `process` have one. A
// program takes one for what it knows to be outside: a descriptor whose other end is not in the
// world, a vnode of a file that another program changes. TCP is outside even between two loops of
// the world: the system may deliver its bytes later. Pipes and local sockets deliver at once.
//
// No effect on a loop with another source of time. A hold also tells run() that its loop is not in
// a deadlock (see deadlock.h), if the loop has a time_source.
//
// Threads: the loop's thread only. The hold ends before the time source does.
#pragma once

#include <utility>

namespace kedge {

class reactor;
class time_source;

class time_hold {
 public:
  // Holds nothing.
  time_hold() = default;
  // Holds the time of the loop `r`.
  explicit time_hold(const reactor& r) noexcept;
  time_hold(time_hold&& other) noexcept : source_(std::exchange(other.source_, nullptr)) {}
  time_hold& operator=(time_hold&& other) noexcept {
    if (this != &other) {
      release();
      source_ = std::exchange(other.source_, nullptr);
    }
    return *this;
  }
  ~time_hold() { release(); }

  // No effect on a hold that holds nothing.
  void release() noexcept {
    if (source_ != nullptr) [[unlikely]]
      give_back();
  }

 private:
  void give_back() noexcept;

  time_source* source_ = nullptr;
};

}  // namespace kedge
