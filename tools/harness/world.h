// world: processes, a kernel and a time of their own, which run step by step, the same way for the
// same seed.
//
//     harness::explore([](harness::world& w) {
//       auto& service = w.start("lockd", lockd_main);
//       auto& waiter = w.start("waiter", lock_once);
//       w.calm();
//       CHECK(waiter.status() == 0);
//     });
//
// A process is its real main() on a stack of its own: a daemon with a loop, or C that blocks in
// mach_msg(). One runs at a time. A step goes to just before the next call that another process can
// notice; then the world chooses who runs next. Where a kernel would block a process, others run.
// When nobody can run, the time moves to the next deadline.
//
// A process has a Mach task, clocks, and thread-local variables of the library of its own. exit()
// ends it, and nothing else. It has a pid, an environment, and random numbers of its own, from the
// seed. Its static variables are the program's, unless it is a loaded_program: a test gives each
// process its data by arguments or captures. A second thread is not supported, but for offload(),
// whose function runs at a later step. Nor is the real world: a wait for a file, a socket, a signal
// or a child ends the test with an error.
//
// Threads: one. Worlds do not overlap: a second one cannot be made while one lives.
// On Darwin the constructor throws std::logic_error: the system's kernel cannot be scheduled.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "kedge/tools/harness/faults.h"
#include "kedge/tools/harness/process.h"

namespace kedge::harness {

class event_log;
class world_state;

// What a test has found. what() is the report.
class failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct process_options {
  std::vector<std::string> arguments{};  // behind argv[0], which is the name
  // It may wait for requests for ever. A process that checks in a service by name may do so too.
  bool is_service = false;
  // It runs on a thread of its own, so that thread_local variables of its program are its own. A
  // step then costs 5 us more. The run is the same.
  bool thread = false;
  // What it allocates is its own: it is at the same addresses in every run, and is dropped when the
  // process ends. So the test must not keep it: a process may set a number of the test's, but not
  // append to a vector of it. Nor may a static variable of the test. Has no effect with a
  // sanitizer.
  bool heap = false;
};

// The main of a process.
template <class Main>
concept main_function =
    std::is_invocable_r_v<int, Main&, int, char**> || std::is_invocable_r_v<int, Main&>;

class world {
 public:
  // What explore() makes. A test that needs only one run may make it itself: it then calls finish()
  // at its end. Throws std::logic_error if there is a world already.
  explicit world(std::uint64_t seed = 1);
  world(const world&) = delete;
  world& operator=(const world&) = delete;
  // Ends all processes.
  ~world();

  // Starts a process, which runs when it gets a turn. Throws std::invalid_argument if the name is
  // empty or there is a process of this name.
  template <main_function Main>
  process& start(std::string name, Main main, process_options options = {}) {
    if constexpr (std::is_invocable_r_v<int, Main&, int, char**>) {
      return start_process(std::move(name), std::move(main), std::move(options));
    } else {
      return start_process(
          std::move(name), [run = std::move(main)](int, char**) mutable { return run(); },
          std::move(options));
    }
  }
  process& operator[](std::string_view name) const;

  // --- Running. Each throws `failure` when a process fails, and when the steps are used up.

  // One step. Returns false if nobody can run, and no time would change that.
  bool step();
  // Steps until the condition holds. Fails if it cannot hold any more, and if all come to rest
  // before.
  void until(const condition& c);
  // Steps until all are at rest. A process that is neither a service nor has ended then waits for
  // ever, which is a deadlock.
  void run();
  // The same, and whoever waits then may wait.
  void run_to_rest();
  // No faults from here on. Then as run().
  void calm();
  // Lets so much time pass, and all that happens in it.
  void advance(std::chrono::nanoseconds length);
  // Ends the run: calm(), then no service may have rights left that it had not when it first waited
  // for a request. explore() calls it.
  void finish();

  // --- What may happen beside the ordinary.

  // The seed decides whether the process is killed, and before which of its next 32 calls: once in
  // a run, after calm() too. Throws std::logic_error if it has ended.
  void may_kill(process& p);
  // These faults may happen to the process, until calm(). The seed switches on a random part of
  // them, which the report names. Throws std::logic_error if it has ended, std::invalid_argument if
  // there is none.
  void may_fail(process& p, fault_set which = faults::all);
  // The fault happens in this call of the process, counted from 1. The run fails if it cannot
  // happen there. Throws std::logic_error if the process has made the call already, or has ended,
  // and std::invalid_argument if the fault is not one of a call.
  void fail(process& p, fault_set which, std::uint32_t call);
  // The order of what comes: 0 is "as usual", and what shrinks a failing run.
  std::size_t choose(std::string_view what, std::size_t count);
  // A number from `least` to `most`, which the seed decides.
  std::int64_t pick(std::int64_t least, std::int64_t most);

  // Fails the run unless the condition holds now, and says what has happened instead.
  void expect(const condition& c);
  // Gives the messages of this id a name, for reports.
  void name(message_id id, std::string text);
  template <class Message>
  void name(std::string text) {
    name(message_id(Message::id), std::move(text));
  }

  // Fails the exploration if no run has ever seen this true.
  void sometimes(std::string_view what, bool seen,
                 std::source_location at = std::source_location::current());

  // At most so many steps in a run; 100,000 unless it is set. A run that needs more is a livelock.
  void limit_steps(std::uint64_t most);

  // --- What has happened.

  std::uint64_t seed() const noexcept;
  std::uint64_t steps() const noexcept;
  // Since the world was made.
  std::chrono::nanoseconds time() const noexcept;
  const event_log& events() const noexcept;
  // All of it, a line each.
  std::string story() const;
  // A number that two runs share if they offered the same choices, and made the same calls with the
  // same results.
  std::uint64_t fingerprint() const noexcept;

  // The report of a failure: what, who waits for what, what led here, what is left.
  std::string report(std::string_view what) const;

 private:
  friend class process;
  friend class message_query;
  friend class exploration;
  process& start_process(std::string name, std::function<int(int, char**)> main,
                         process_options options);

  std::unique_ptr<world_state> state_;
};

}  // namespace kedge::harness
