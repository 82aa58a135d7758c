// posted_name: waits for posts of a name by notify(3).
//
//     mach::darwin::posted_name zone("com.apple.system.timezone");
//     for (;;) {
//       (co_await zone.next()).value();
//       reload();
//     }
//
// Several posts may be reported as one: what a post tells of is read after it, by state() or
// elsewhere. A post between two waits is not lost.
//
// Errors: next() gives those of receive(). Cancellation loses nothing but the post that is being
// taken.
// Threads: the loop's thread only. Compiled for Darwin only, and never run so far.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "kedge/mach/darwin/borrowed_port.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace kedge::mach::darwin {

class posted_name {
 public:
  // Throws std::runtime_error with the status of notify(3), and std::bad_alloc.
  explicit posted_name(std::string name);
  posted_name(const posted_name&) = delete;
  posted_name& operator=(const posted_name&) = delete;
  // Ends a wait in progress with errc::closed.
  ~posted_name();

  // Waits for the next post.
  task<result<void>> next() const;
  // The number that the posters have set for the name. Throws std::runtime_error.
  std::uint64_t state() const;
  void set_state(std::uint64_t state);

 private:
  std::string name_;
  int token_ = 0;
  std::optional<borrowed_port> port_;
};

// Posts the name. Throws std::runtime_error.
void post(const std::string& name);

}  // namespace kedge::mach::darwin
