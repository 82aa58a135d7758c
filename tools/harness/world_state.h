// world_state: the scheduler behind a world. running_process: a process in it.
//
// The kernels call it where a process would block (base::parker) and around each call of Mach's
// (kernel::call_scheduler). It is the only place that resumes a process, and choose() the only one
// that decides anything.
#pragma once

#include <mach/mach.h>

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kedge/mach/kernel/extension.h"
#include "kedge/mach/kernel/scheduling.h"
#include "kedge/mach/kernel/snapshot.h"
#include "kedge/runtime/awaiting/frame_recycler.h"
#include "kedge/runtime/base/parker.h"
#include "kedge/tools/harness/baton_thread.h"
#include "kedge/tools/harness/event_log.h"
#include "kedge/tools/harness/faults.h"
#include "kedge/tools/harness/fiber.h"
#include "kedge/tools/harness/process.h"
#include "kedge/tools/harness/process_heap.h"
#include "kedge/tools/harness/world.h"

namespace kedge::harness {

// A fault that the test wants in a call of a process.
struct planned_fault {
  fault_set which;
  std::uint32_t call = 0;
  bool is_done = false;
};

class running_process {
 public:
  running_process(world_state& w, process_index i, std::string n, std::function<int(int, char**)> m,
                  process_options o);
  running_process(const running_process&) = delete;
  running_process& operator=(const running_process&) = delete;
  ~running_process();

  enum class state : std::uint8_t {
    ready,   // it has not run yet, or is before a call that others can notice
    parked,  // a kernel would block it
    ended,   // its main has returned, or it has called exit()
    killed,
  };

  world_state& of;
  const process_index index;
  const std::string name;
  std::function<int(int, char**)> main;
  process_options options;
  process handle{*this};

  state now = state::ready;
  int status = 0;
  std::uint32_t calls = 0;
  bool is_suspended = false;
  bool is_dying = false;            // it only has to leave the kernel
  bool checked_in = false;          // a service by name
  std::uint32_t killed_before = 0;  // this call of it; 0: none

  // What the test and the seed do to it.
  fault_set faults;  // switched on
  std::vector<planned_fault> planned;
  std::uint64_t slow_until = 0;     // step
  std::uint64_t stalled_until = 0;  // time
  bool is_held = false;             // before any call
  std::vector<mach_msg_id_t> held_messages;

  // While it is parked.
  const void* place = nullptr;
  std::uint64_t deadline = base::parker::never;
  bool is_woken = false;
  std::uint32_t parked_at = 0;  // step
  std::uint32_t woken_by = 0;   // event::cause of its next event

  // The call that it is in or before.
  mach::kernel::scheduled_call call{};
  bool is_in_call = false;
  std::optional<message_record> sending;

  mach::kernel::task task;
  // What it had when it first waited.
  std::optional<mach::kernel::snapshot> first_wait;
  std::size_t deepest_queue = 0;
  std::string uncaught;  // what() of the exception that has ended it
  std::vector<mach::kernel::guard_exception> guards;
  bool guards_are_expected = false;
  // Names that became dead names, with the numbers of the ports that they stood for.
  std::unordered_map<mach_port_name_t, std::uint64_t> dead_names;
  // Where it stands, if the report has asked.
  bool has_run = false;
  bool is_asked_for_stack = false;
  std::vector<void*> call_stack;

  // Its part of what is the thread's: variables of the library, and the exceptions in flight.
  std::unique_ptr<std::byte[]> thread_state;
  std::byte exceptions[2 * sizeof(void*)]{};
  std::optional<fiber> stack;
  std::unique_ptr<baton_thread> thread;  // process_options::thread

  // process_options::heap. The frames of its coroutines come from there too.
  class heap_frames final : public frame_resource {
   public:
    explicit heap_frames(std::size_t number) : heap(number) {}
    void* allocate(std::size_t size) override;
    void release(void* block, std::size_t size) noexcept override;
    process_heap heap;
  };
  std::unique_ptr<heap_frames> memory;

  // What it would have on threads of a pool: parker::run_later().
  struct later_work {
    base::parker::work* run;
    std::shared_ptr<void> job;
  };
  std::deque<later_work> later;
  std::jmp_buf* end_of_work = nullptr;  // of the work that runs; null: none

  std::int32_t pid = 0;
  std::uint64_t entropy = 0;       // the state of its random numbers
  std::vector<char*> environment;  // what it begins with
  char** environment_now = nullptr;

  bool is_over() const noexcept { return now == state::ended || now == state::killed; }
  // Whether it may wait for ever.
  bool is_service() const noexcept { return options.is_service || checked_in; }
  // Throws std::logic_error if it has ended, and so cannot be `done_to`.
  void demand_life(const char* done_to) const;
};

class world_state final : public base::parker, public mach::kernel::call_scheduler {
 public:
  world_state(world& facade, std::uint64_t seed);
  ~world_state();

  running_process& start(std::string name, std::function<int(int, char**)> main,
                         process_options options);
  running_process* find(std::string_view name) noexcept;

  bool step();
  void run();
  void until(const condition& c);
  void advance(std::uint64_t length);
  void check_rest();
  void check_leaks();
  void kill(running_process& p);
  void suspend(running_process& p, bool is_suspended);
  const world& facade() const noexcept { return facade_; }
  // The next of the random numbers of a process.
  static std::uint64_t draw_from(std::uint64_t& state) noexcept;
  std::size_t choose(std::string_view what, std::size_t count);
  // Whether the last of so many options is chosen: the seed makes it happen once in so many.
  static constexpr std::size_t calls_of_a_fault = 8;
  bool happens(std::string_view what, std::size_t one_in) {
    return choose(what, one_in) == one_in - 1;
  }
  // `of`: the processes that the failure is about; none: all.
  [[noreturn]] void fail(std::string what, std::vector<process_index> of = {});

  // What the test does to a process.
  void stall(running_process& p, std::uint64_t length);
  bool is_held(const running_process& p) const noexcept;
  std::size_t fill(running_process& p, std::uint32_t number, mach_msg_id_t id);

  // Judging.
  void check_plans();
  void check_guards();
  void take_guards(running_process& p);

  // The process that runs now; null: the test does.
  static running_process* running() noexcept;
  // exit(), in a process.
  [[noreturn]] void end_running(int status) noexcept;
  // Sleeps, in a process. Returns when the time is over.
  void sleep_until(std::uint64_t deadline) noexcept;
  // The real world is asked for something: the run cannot be repeated. Reported at the next step.
  void note_uncontrolled(std::string what);
  // Likewise, in a process, which does not go on.
  [[noreturn]] void stop_uncontrolled(const std::string& what) noexcept;

  void note_sometimes(std::string_view what, bool is_true, std::source_location at);

  std::string report(std::string_view of_failure, std::vector<process_index> of = {});
  std::string story();
  std::string describe(const message_record& m) const;
  std::string name_of_message(mach_msg_id_t id) const;
  // "lockd.1"
  std::string name_of_port(std::uint64_t number) const;
  // Finds out who receives from the ports that messages have named.
  void name_ports();

  // base::parker.
  ended park(const void* place, std::uint64_t deadline) noexcept override;
  void unpark(const void* place) noexcept override;
  void leave() noexcept override;
  void note_outside(int source, std::uint64_t ident) noexcept override;
  [[noreturn]] void stop_outside(const char* call) noexcept override;
  void run_later(work* run, std::shared_ptr<void> job) override;
  std::uint64_t next_address(std::uint64_t size) noexcept override;
  std::uint64_t now() const noexcept override { return time; }

  // kernel::call_scheduler.
  void before(const mach::kernel::scheduled_call& call) noexcept override;
  void after(const mach::kernel::scheduled_call& call) noexcept override;

  const std::uint64_t seed;
  std::vector<std::unique_ptr<running_process>> processes;
  event_log log;
  std::map<mach_msg_id_t, std::string> message_names;
  std::uint64_t steps = 0;
  std::uint64_t most_steps = 100'000;
  bool is_calm = false;
  bool may_disturb = false;  // some process has faults of the scheduler's
  std::uint64_t fingerprint = 0xcbf29ce484222325u;

  // The machine's clocks when a world begins: 1,000 s after it was started, at a fixed date.
  static constexpr std::uint64_t first_time = 1'000'000'000'000u;
  static constexpr std::uint64_t first_wall_time = 1'700'000'000'000'000'000u;
  std::uint64_t time = first_time;

 private:
  static void run_process(void* p) noexcept;
  bool can_run(const running_process& p) const noexcept;
  std::uint64_t next_time() const noexcept;
  void move_time(std::uint64_t to);
  void resume(running_process& p);
  void resume_here(running_process& p);
  void hand_over(running_process& p) noexcept;
  void wait(running_process& p, const void* place, std::uint64_t deadline) noexcept;
  void run_work(running_process& p, const void* place) noexcept;
  [[noreturn]] static void finish(running_process& p) noexcept;
  void bury(running_process& p) noexcept;
  void bury_lost();
  void before_message(running_process& p, const mach::kernel::scheduled_call& call);
  void after_message(running_process& p, const mach::kernel::scheduled_call& call);
  void note(event_kind what, running_process& p, std::string text);
  void note_wrong(std::string what);
  void plan_fault(running_process& p);
  bool end_fault(running_process& p);
  bool disturb();
  void count_step();
  void note_first_wait(running_process& p);
  void resume_without_descriptors(running_process& p);
  std::string note_death(running_process& p);
  std::string repetition() const;
  std::vector<bool> causes(std::vector<process_index> of);
  void ask_for_stack(running_process& p);
  // `of`: gets those who have some.
  std::string leftovers(std::vector<process_index>* of = nullptr);
  void mix(std::uint64_t value) noexcept { fingerprint = (fingerprint ^ value) * 0x100000001b3u; }
  std::uint64_t draw() noexcept;
  event event_of(event_kind what, running_process& p) const noexcept;

  world& facade_;
  // Out-of-line memory is mapped from here on.
  static constexpr std::uint64_t first_address = 0x1800'0000'0000;
  std::uint64_t next_address_ = first_address;
  std::uint64_t random_;
  running_process* last_ = nullptr;  // who has had the last step
  std::vector<running_process*> candidates_;
  std::string uncontrolled_;
  std::string wrong_;                     // a mistake of the test's, reported at the next step
  const condition* waits_for_ = nullptr;  // the test, in until()
  planned_fault* planned_now_ = nullptr;
  std::vector<mach_port_name_t>
      filling_;  // send rights of the world's, to ports that it has filled
  // The calls that were made last, for livelocks.
  struct past_call {
    process_index of;
    const char* function;
  };
  static constexpr std::size_t past_calls = 256;
  std::vector<past_call> past_;
  std::size_t next_past_ = 0;
  std::uint32_t last_time_event_ = 0;  // counted from 1
  bool fault_is_planned_ = false;
  bool has_lost_peer_ = false;  // by a fault
};

// The text with blanks behind it.
std::string padded(const std::string& text, std::size_t width);

// "0.25 ms"
std::string to_milliseconds(std::uint64_t nanoseconds);

}  // namespace kedge::harness
