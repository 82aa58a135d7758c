// Implements world_state: who runs, when a process waits, when the time moves, how one dies.
#include "kedge/tools/harness/world_state.h"

#include <cxxabi.h>
#include <sys/event.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <utility>

#include "kedge/mach/abandoned_task.h"
#include "kedge/mach/pooled_port.h"
#include "kedge/runtime/base/outside_heap.h"
#include "kedge/runtime/base/process_state.h"
#include "kedge/runtime/kqueue/extension.h"
#include "kedge/tools/harness/call_place.h"
#include "kedge/tools/harness/sanitizers.h"

#if defined(KEDGE_HARNESS_ASAN)
#include <sanitizer/lsan_interface.h>
#endif

extern "C" char** environ;

#if defined(__APPLE__)
// The C++ library has it, and its header does not.
namespace __cxxabiv1 {
struct __cxa_eh_globals;
extern "C" __cxa_eh_globals* __cxa_get_globals() noexcept;
}  // namespace __cxxabiv1
#endif

namespace kedge::harness {
namespace {

namespace kernel = mach::kernel;

constinit thread_local running_process* running_now = nullptr;
constinit world_state* the_world = nullptr;

constexpr int status_of_abort = 128 + 6;
constexpr int status_of_kill = 128 + 9;

// What a killed process has allocated stays: a leak checker is not to look at it.
class unchecked_allocations {
 public:
#if defined(KEDGE_HARNESS_ASAN)
  unchecked_allocations() noexcept { __lsan_disable(); }
  ~unchecked_allocations() { __lsan_enable(); }
#else
  unchecked_allocations() noexcept {}  // not trivial: an object of it is used
#endif
  unchecked_allocations(const unchecked_allocations&) = delete;
  unchecked_allocations& operator=(const unchecked_allocations&) = delete;
};

bool is_message(const kernel::scheduled_call& call) noexcept {
  return (call.options & (MACH_SEND_MSG | MACH_RCV_MSG)) != 0;
}

const void* owner_of(kernel::task t) noexcept {
  return reinterpret_cast<const void*>(static_cast<std::uintptr_t>(t.id));
}

// What a right becomes for the receiver.
mach_msg_type_name_t arriving(mach_msg_type_name_t disposition) noexcept {
  switch (disposition) {
    case MACH_MSG_TYPE_MOVE_RECEIVE:
      return MACH_MSG_TYPE_PORT_RECEIVE;
    case MACH_MSG_TYPE_MOVE_SEND:
    case MACH_MSG_TYPE_COPY_SEND:
    case MACH_MSG_TYPE_MAKE_SEND:
      return MACH_MSG_TYPE_PORT_SEND;
    case MACH_MSG_TYPE_MOVE_SEND_ONCE:
    case MACH_MSG_TYPE_MAKE_SEND_ONCE:
      return MACH_MSG_TYPE_PORT_SEND_ONCE;
    default:
      return 0;
  }
}
bool is_made(mach_msg_type_name_t disposition) noexcept {
  return disposition == MACH_MSG_TYPE_MAKE_SEND || disposition == MACH_MSG_TYPE_MAKE_SEND_ONCE;
}

}  // namespace

running_process::running_process(world_state& w, process_index i, std::string n,
                                 std::function<int(int, char**)> m, process_options o)
    : of(w),
      index(i),
      name(std::move(n)),
      main(std::move(m)),
      options(std::move(o)),
      thread_state(new std::byte[base::process_state::total()]()) {}

running_process::~running_process() {
  if (later.empty()) return;
  // What has not run is never destroyed either.
  const unchecked_allocations unchecked;
  static_cast<void>(new std::deque<later_work>(std::move(later)));
}

void* running_process::heap_frames::allocate(std::size_t size) {
  void* const block = heap.allocate(size);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

void running_process::heap_frames::release(void* block, std::size_t) noexcept {
  process_heap::release(block);
}

world_state::world_state(world& facade, std::uint64_t s)
    : seed(s), facade_(facade), random_(s * 0x9e3779b97f4a7c15u + 1) {
  if (!kernel::has_many_tasks()) {
    throw std::logic_error("kedge::harness: the system's kernel cannot be scheduled here");
  }
  if (the_world != nullptr) {
    throw std::logic_error("kedge::harness: there is a world already; only one can live at a time");
  }
  the_world = this;
  kernel::use_clock(base::parker::read_clock, static_cast<base::parker*>(this));
  kernel::set_call_scheduler(this);
}

world_state::~world_state() {
  for (const auto& each : processes) {
    if (!each->is_over()) kill(*each);
  }
  processes.clear();
  if (next_address_ != first_address) {
    const kernel::current_task_guard outside({});
    vm_deallocate(mach_task_self(), first_address, next_address_ - first_address);
  }
  for (const mach_port_name_t each : filling_) mach_port_deallocate(mach_task_self(), each);
  kernel::set_call_scheduler(nullptr);
  kernel::use_clock(nullptr, nullptr);
  the_world = nullptr;
}

running_process* world_state::running() noexcept {
  return running_now;
}

std::uint64_t world_state::draw_from(std::uint64_t& state) noexcept {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

std::uint64_t world_state::draw() noexcept {
  return draw_from(random_);
}

std::size_t world_state::choose(std::string_view what, std::size_t count) {
  if (count == 0) throw std::invalid_argument("kedge::harness: choose() of nothing");
  if (count == 1) return 0;
  const auto chosen = static_cast<std::size_t>(draw() % count);
  for (const char c : what) mix(static_cast<unsigned char>(c));
  mix(count);
  mix(chosen);
  return chosen;
}

event world_state::event_of(event_kind what, running_process& p) const noexcept {
  return {.what = what,
          .of = p.index,
          .step = static_cast<std::uint32_t>(steps),
          .call = p.calls,
          .cause = std::exchange(p.woken_by, 0)};
}

// --- Processes -----------------------------------------------------------------------------------

running_process& world_state::start(std::string name, std::function<int(int, char**)> main,
                                    process_options options) {
  if (name.empty()) throw std::invalid_argument("kedge::harness: a process needs a name");
  if (find(name) != nullptr) {
    throw std::invalid_argument("kedge::harness: there is a process \"" + name + "\" already");
  }
  const kernel::current_task_guard outside({});
  const auto index = static_cast<process_index>(processes.size());
  auto& p = *processes.emplace_back(std::make_unique<running_process>(
      *this, index, std::move(name), std::move(main), std::move(options)));
  constexpr std::int32_t first_pid = 101;
  p.pid = first_pid + static_cast<std::int32_t>(index);
  p.task = kernel::create_task(kernel::task_options{
      .name_seed = seed * 1009 + index, .pid = p.pid, .pid_version = index + 1});
  kernel::set_guard_behaviour(p.task, kernel::guard_behaviour::record);
  p.entropy = (seed + 1) * 0xd1342543de82ef95u + index;
  // The strings are shared: setenv() replaces them, and changes none.
  for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
    p.environment.push_back(*each);
  }
  p.environment.push_back(nullptr);
  p.environment_now = p.environment.data();
  p.stack.emplace(run_process, &p);
  if (p.options.heap && process_heap::is_supported) {
    p.memory = std::make_unique<running_process::heap_frames>(index);
  }
  if (p.options.thread) p.thread = std::make_unique<baton_thread>();
  return p;
}

running_process* world_state::find(std::string_view name) noexcept {
  const auto at = std::ranges::find_if(processes, [&](const auto& p) { return p->name == name; });
  return at != processes.end() ? at->get() : nullptr;
}

void world_state::run_process(void* argument) noexcept {
  auto& p = *static_cast<running_process*>(argument);
  std::vector<char*> arguments;
  arguments.push_back(const_cast<char*>(p.name.c_str()));
  for (std::string& each : p.options.arguments) arguments.push_back(each.data());
  arguments.push_back(nullptr);
  int status = status_of_abort;
  try {
    status = p.main(static_cast<int>(arguments.size()) - 1, arguments.data());
  } catch (const std::exception& e) {
    const base::outside_heap kept;
    p.uncaught = e.what();
  } catch (...) {
    p.uncaught = "an exception";
  }
  p.of.end_running(status);
}

void world_state::end_running(int status) noexcept {
  running_process& p = *running_now;
  p.status = status & 0xff;
  p.now = running_process::state::ended;
  p.is_dying = true;
  finish(p);
}

// The process does not go on where it is. If it runs work of run_later(), it has a call behind
// that, which leaves the kernel first.
void world_state::finish(running_process& p) noexcept {
  if (p.end_of_work != nullptr) std::longjmp(*p.end_of_work, 1);
  p.stack->finish();
}

// The process does not run any more. What it had in the kernels goes.
void world_state::bury(running_process& p) noexcept {
  const kernel::current_task_guard outside({});
  if (p.now == running_process::state::ended) {
    take_guards(p);
    note_death(p);
  }
  kernel::terminate_task(p.task);
  kqueue::close_all_of(owner_of(p.task));
  mach::abandon_task(p.task);
  p.memory.reset();
}

// A fault has ended tasks, whose processes have not noticed.
void world_state::bury_lost() {
  has_lost_peer_ = false;
  for (const auto& p : processes) {
    if (p->is_over()) continue;
    const kernel::current_task_guard outside({});
    const mach_port_t self = kernel::task_self_port(p->task);
    if (self == MACH_PORT_DEAD) {
      kill(*p);
    } else {
      mach_port_deallocate(mach_task_self(), self);
    }
  }
}

void world_state::kill(running_process& p) {
  p.demand_life("killed");
  mix(p.index + 0x6b);
  {
    const kernel::current_task_guard outside({});
    take_guards(p);
    event killing = event_of(event_kind::killed, p);
    killing.note = log.add_note(note_death(p));
    log.add(killing);
    kernel::terminate_task(p.task);
  }
  // A call that waits leaves the kernel first: it has references there.
  p.is_dying = true;
  const bool waits = p.now == running_process::state::parked && p.place != nullptr;
  if (waits || p.end_of_work != nullptr) resume(p);
  p.now = running_process::state::killed;
  if (p.thread != nullptr) p.thread->abandon();
  p.status = status_of_kill;
  bury(p);
}

void world_state::suspend(running_process& p, bool is_suspended) {
  if (p.is_suspended == is_suspended) return;
  p.is_suspended = is_suspended;
  log.add(event_of(is_suspended ? event_kind::suspended : event_kind::resumed, p));
}

void world_state::resume(running_process& p) {
  p.has_run = true;
  if (p.thread == nullptr) return resume_here(p);
  p.thread->run([this, &p] { resume_here(p); });
}

// On the thread that has the variables of the process.
void world_state::resume_here(running_process& p) {
  running_process* const outer = std::exchange(running_now, &p);
  base::parker* const outer_parker = base::parker::set_of_thread(this);
  const kernel::task task = kernel::set_current_task(p.task);
  const int error = errno;
  std::swap(environ, p.environment_now);
  base::process_state::exchange(p.thread_state.get());
  auto* const exceptions = reinterpret_cast<std::byte*>(abi::__cxa_get_globals());
  std::swap_ranges(p.exceptions, p.exceptions + sizeof p.exceptions, exceptions);
  {
    const unchecked_allocations unchecked;
    if (p.memory != nullptr) {
      frame_recycler::use(p.memory.get());
      process_heap* const outer_heap = process_heap::set_current(&p.memory->heap);
      p.stack->resume();
      process_heap::set_current(outer_heap);
      frame_recycler::use(nullptr);
    } else {
      p.stack->resume();
    }
  }
  std::swap_ranges(p.exceptions, p.exceptions + sizeof p.exceptions, exceptions);
  base::process_state::exchange(p.thread_state.get());
  std::swap(environ, p.environment_now);
  errno = error;
  kernel::set_current_task(task);
  base::parker::set_of_thread(outer_parker);
  running_now = outer;
}

// Called by the process that runs.
void world_state::hand_over(running_process& p) noexcept {
  const int error = errno;
  p.stack->hand_over();
  while (p.is_asked_for_stack) {
    p.is_asked_for_stack = false;
    p.call_stack = capture_stack();
    p.stack->hand_over();
  }
  errno = error;
}

// --- Steps ---------------------------------------------------------------------------------------

bool world_state::can_run(const running_process& p) const noexcept {
  if (p.is_suspended || p.stalled_until > time) return false;
  switch (p.now) {
    case running_process::state::ready:
      return !is_held(p);
    case running_process::state::parked:
      return p.is_woken || p.deadline <= time;
    default:
      return false;
  }
}

std::uint64_t world_state::next_time() const noexcept {
  std::uint64_t next = base::parker::never;
  for (const auto& p : processes) {
    if (p->is_over() || p->is_suspended) continue;
    if (p->stalled_until > time) {
      next = std::min(next, p->stalled_until);
    } else if (p->now == running_process::state::parked) {
      next = std::min(next, p->deadline);
    }
  }
  const kernel::current_task_guard outside({});
  return std::min(next, kernel::next_timer());
}

void world_state::move_time(std::uint64_t to) {
  log.add(
      {.what = event_kind::time, .step = static_cast<std::uint32_t>(steps), .amount = to - time});
  last_time_event_ = static_cast<std::uint32_t>(log.events().size());
  mix(to);
  time = to;
  const kernel::current_task_guard outside({});
  kernel::clock_moved();
}

bool world_state::step() {
  if (!wrong_.empty()) fail(std::exchange(wrong_, {}));
  if (may_disturb && !is_calm && disturb()) {
    count_step();
    return true;
  }
  candidates_.clear();
  // Option 0: the one that has had the last step goes on.
  if (last_ != nullptr && can_run(*last_)) candidates_.push_back(last_);
  for (const auto& p : processes) {
    if (p.get() != last_ && can_run(*p)) candidates_.push_back(p.get());
  }
  if (may_disturb && candidates_.size() > 1) {
    const auto is_slow = [&](const running_process* p) { return p->slow_until > steps; };
    if (!std::ranges::all_of(candidates_, is_slow)) std::erase_if(candidates_, is_slow);
  }
  if (candidates_.empty()) {
    const std::uint64_t next = next_time();
    if (next == base::parker::never) return false;
    if (next > time) move_time(next);
    return true;
  }
  count_step();
  running_process& p = *candidates_[choose("run", candidates_.size())];
  last_ = &p;
  if (p.killed_before == p.calls + 1 && p.now == running_process::state::ready) {
    kill(p);
    return true;
  }
  if (!is_calm && p.faults.has(faults::no_descriptors) &&
      happens("no descriptors", calls_of_a_fault)) {
    resume_without_descriptors(p);
  } else {
    resume(p);
  }
  if (p.now == running_process::state::ended) {
    event ending = event_of(event_kind::ended, p);
    ending.code = p.status;
    log.add(ending);
    mix(static_cast<std::uint64_t>(p.status));
    bury(p);
    if (!p.uncaught.empty()) {
      fail("UNCAUGHT: \"" + p.name + "\" was ended by an exception: " + p.uncaught, {p.index});
    }
  }
  if (has_lost_peer_) bury_lost();
  if (!uncontrolled_.empty()) fail("NOT REPRODUCIBLE: " + std::exchange(uncontrolled_, {}));
  if (!wrong_.empty()) fail(std::exchange(wrong_, {}));
  return true;
}

void world_state::count_step() {
  if (++steps > most_steps) {
    fail("LIVELOCK: no rest after " + std::to_string(most_steps) + " steps" + repetition());
  }
}

void world_state::run() {
  while (step()) {
  }
}

void world_state::until(const condition& c) {
  std::size_t over = 0;
  while (!c.holds()) {
    // Only an end of a process makes it hopeless.
    const auto now_over = static_cast<std::size_t>(
        std::ranges::count_if(processes, [](const auto& p) { return p->is_over(); }));
    if (std::exchange(over, now_over) != now_over && c.is_hopeless && c.is_hopeless()) {
      fail("IT CANNOT HAPPEN ANY MORE: " + to_string(c));
    }
    waits_for_ = &c;
    const bool has_run = step();
    waits_for_ = nullptr;
    if (!has_run) fail("AT REST before: " + to_string(c));
  }
}

void world_state::advance(std::uint64_t length) {
  const std::uint64_t end = time + length;
  for (;;) {
    const bool is_idle =
        std::ranges::none_of(processes, [&](const auto& p) { return can_run(*p); });
    if (is_idle && next_time() > end) break;
    step();
  }
  if (time < end) move_time(end);
}

void world_state::note_uncontrolled(std::string what) {
  if (uncontrolled_.empty()) uncontrolled_ = std::move(what);
}

void world_state::stop_uncontrolled(const std::string& what) noexcept {
  const base::outside_heap kept;
  running_process& p = *running_now;
  note_uncontrolled("\"" + p.name + "\" " + what);
  while (!p.is_dying) wait(p, nullptr, base::parker::never);
  finish(p);
}

void world_state::note_wrong(std::string what) {
  if (wrong_.empty()) wrong_ = std::move(what);
}

void world_state::fail(std::string what, std::vector<process_index> of) {
  const condition* const waited_for = std::exchange(waits_for_, nullptr);
  if (waited_for != nullptr) what += "\n  the test waits for: " + to_string(*waited_for);
  throw failure(report(what, std::move(of)));
}

void world_state::note_first_wait(running_process& p) {
  if (p.first_wait) return;
  const kernel::current_task_guard outside({});
  p.first_wait = kernel::take_snapshot();
}

// --- The parker ----------------------------------------------------------------------------------

// Hands over until unpark(place), or until the deadline. Called by the process that runs.
void world_state::wait(running_process& p, const void* place, std::uint64_t deadline) noexcept {
  p.place = place;
  p.deadline = deadline;
  p.is_woken = false;
  p.parked_at = static_cast<std::uint32_t>(steps);
  p.now = running_process::state::parked;
  hand_over(p);
  p.place = nullptr;
  p.now = running_process::state::ready;
}

base::parker::ended world_state::park(const void* place, std::uint64_t deadline) noexcept {
  running_process& p = *running_now;
  if (p.is_dying) return ended::interrupted;
  if (fault_is_planned_) {
    const kernel::current_task_guard outside({});
    end_fault(p);
  }
  if (!p.later.empty()) {
    run_work(p, place);
    // What it has done may be what the caller waits for.
    return p.is_dying ? ended::interrupted : ended::woken;
  }
  note_first_wait(p);
  wait(p, place, deadline);
  if (p.is_dying) return ended::interrupted;
  if (!p.is_woken) p.woken_by = last_time_event_;
  return p.is_woken ? ended::woken : ended::timed_out;
}

void world_state::unpark(const void* place) noexcept {
  for (const auto& p : processes) {
    if (p->place == place) p->is_woken = true;
  }
}

void world_state::leave() noexcept {
  running_process& p = *running_now;
  if (p.is_dying) finish(p);
}

void world_state::run_later(work* what, std::shared_ptr<void> job) {
  const base::outside_heap kept;
  running_now->later.push_back({what, std::move(job)});
}

// Runs the first work of run_later() at a later step, as if on another thread. The process is in a
// call that waits, whose kernel has the place.
void world_state::run_work(running_process& p, const void* place) noexcept {
  wait(p, place, time);
  if (p.is_dying) return;
  running_process::later_work next = std::move(p.later.front());
  p.later.pop_front();
  const kernel::scheduled_call call = p.call;
  std::optional<message_record> sending = std::move(p.sending);
  const std::unique_ptr<std::byte[]> thread_state(new std::byte[base::process_state::total()]());
  std::jmp_buf end_of_work;
  std::jmp_buf* const outer = std::exchange(p.end_of_work, &end_of_work);
  base::process_state::exchange(thread_state.get());
  if (setjmp(end_of_work) == 0) next.run(next.job);
  base::process_state::exchange(thread_state.get());
  p.end_of_work = outer;
  p.call = call;
  p.sending = std::move(sending);
}

void world_state::stop_outside(const char* call) noexcept {
  const base::outside_heap kept;
  stop_uncontrolled("would block in " + std::string(call) +
                    "(), for something that is outside of the world");
}

std::uint64_t world_state::next_address(std::uint64_t size) noexcept {
#if defined(KEDGE_HARNESS_TSAN)
  static_cast<void>(size);
  return 0;  // the range is the sanitizer's
#else
  constexpr std::uint64_t unit = 1u << 16;  // no page is larger
  return std::exchange(next_address_, next_address_ + (size + 2 * unit - 1) / unit * unit);
#endif
}

void world_state::note_outside(int source, std::uint64_t ident) noexcept {
  const char* const kind = source == EVFILT_SIGNAL ? "signal "
                           : source == EVFILT_PROC ? "process "
                                                   : "fd ";
  note_uncontrolled("\"" + running_now->name + "\" waits in kevent() for " + kind +
                    std::to_string(ident) + ", which is outside of the world");
}

void world_state::sleep_until(std::uint64_t deadline) noexcept {
  running_process& p = *running_now;
  while (time < deadline) {
    wait(p, nullptr, deadline);
    if (p.is_dying) finish(p);
  }
  p.woken_by = last_time_event_;
}

// --- Calls ---------------------------------------------------------------------------------------

void world_state::before(const kernel::scheduled_call& call) noexcept {
  running_process& p = *running_now;
  if (p.is_dying) return;
  p.call = call;
  p.is_in_call = true;
  if (!call.is_noticeable) return;
  hand_over(p);
  if (p.is_dying) finish(p);
  ++p.calls;
  if (past_.size() < past_calls) past_.resize(past_calls, {no_process, nullptr});
  past_[next_past_++ % past_calls] = {p.index, call.function};
  const kernel::current_task_guard outside({});
  // A service whose first request is there already does not wait for it.
  if ((call.options & MACH_RCV_MSG) != 0) note_first_wait(p);
  if (is_message(call)) before_message(p, call);
  if (p.faults.points() != 0 || !p.planned.empty()) plan_fault(p);
}

void world_state::after(const kernel::scheduled_call& call) noexcept {
  running_process& p = *running_now;
  if (p.is_dying) finish(p);
  {
    const kernel::current_task_guard outside({});
    const bool is_faulty = fault_is_planned_ && end_fault(p);
    if (is_message(call)) after_message(p, call);
    if (is_faulty) {
      // What the fault has done is not the process's mistake.
      kernel::take_guard_exceptions(p.task);
    } else if (call.result != KERN_SUCCESS) {
      take_guards(p);
    }
  }
  p.is_in_call = false;
  if (call.result == KERN_SUCCESS && std::strcmp(call.function, "bootstrap_check_in") == 0) {
    p.checked_in = true;
  }
  mix(static_cast<std::uint64_t>(call.result) << 8 | p.index);
}

// Notes what the message carries while the names mean something to the sender.
void world_state::before_message(running_process& p, const kernel::scheduled_call& call) {
  p.sending.reset();
  if (call.sent == nullptr) return;
  const mach_msg_header_t& h = *call.sent;
  message_record& m = p.sending.emplace();
  m.id = h.msgh_id;
  m.sender = p.index;
  m.sent_at = static_cast<std::uint32_t>(steps);
  m.sender_call = p.calls;
  m.cause = std::exchange(p.woken_by, 0);
  m.port = kernel::port_number(p.task, h.msgh_remote_port);
  log.see_port(m.port);
  const auto carry = [&](mach_port_name_t name, mach_msg_type_name_t disposition, bool is_reply) {
    const std::uint64_t port =
        MACH_PORT_VALID(name) ? kernel::port_number(p.task, name) : std::uint64_t{0};
    log.see_port(port);
    if (is_made(disposition)) log.name_port(port, p.index);
    m.rights.push_back({port, arriving(disposition), is_reply});
  };
  if (h.msgh_local_port != MACH_PORT_NULL) {
    carry(h.msgh_local_port, MACH_MSGH_BITS_LOCAL(h.msgh_bits), true);
  }
  const auto* const bytes = reinterpret_cast<const std::byte*>(&h);
  const std::size_t size = call.sent_size;
  if (size > sizeof h) m.body.assign(bytes + sizeof h, bytes + size);
  if ((h.msgh_bits & MACH_MSGH_BITS_COMPLEX) == 0) return;
  mach_msg_body_t body;
  if (size < sizeof h + sizeof body) return;
  std::memcpy(&body, bytes + sizeof h, sizeof body);
  std::size_t at = sizeof h + sizeof body;
  for (mach_msg_size_t i = 0; i < body.msgh_descriptor_count; ++i) {
    mach_msg_port_descriptor_t d;  // the shortest; the kind of each is in the same place
    if (size - at < sizeof d) return;
    std::memcpy(&d, bytes + at, sizeof d);
    switch (d.type) {
      case MACH_MSG_PORT_DESCRIPTOR:
        carry(d.name, d.disposition, false);
        at += sizeof(mach_msg_port_descriptor_t);
        break;
      case MACH_MSG_OOL_PORTS_DESCRIPTOR: {
        mach_msg_ool_ports_descriptor_t ports;
        if (size - at < sizeof ports) return;
        std::memcpy(&ports, bytes + at, sizeof ports);
        const auto* const names = static_cast<const mach_port_name_t*>(ports.address);
        for (mach_msg_size_t n = 0; names != nullptr && n < ports.count; ++n) {
          carry(names[n], ports.disposition, false);
        }
        at += sizeof ports;
        break;
      }
      default:
        at += sizeof(mach_msg_ool_descriptor_t);
    }
    if (at > size) return;
  }
  m.data_at = at - sizeof h;
}

void world_state::after_message(running_process& p, const kernel::scheduled_call& call) {
  if (p.sending) {
    if (call.result == MACH_MSG_SUCCESS) {
      log.add_sent(std::move(*p.sending));
    } else {
      log.add_not_sent(std::move(*p.sending), call.result);
    }
    p.sending.reset();
  }
  if (call.received == nullptr) return;
  const mach_msg_header_t& h = *call.received;
  const std::uint64_t port = kernel::port_number(p.task, h.msgh_local_port);
  log.name_port(port, p.index);
  message_record& m = log.add_received(port, h.msgh_id, event_of(event_kind::received, p));
  if (m.sender == no_process && h.msgh_size > sizeof h) {
    const auto* const bytes = reinterpret_cast<const std::byte*>(&h);
    m.body.assign(bytes + sizeof h, bytes + h.msgh_size);
  }
  p.deepest_queue = std::max<std::size_t>(p.deepest_queue, m.depth + 1u);
  mix(static_cast<std::uint64_t>(h.msgh_id));
}

}  // namespace kedge::harness
