// Implements the menu of faults, and those faults that are the scheduler's.
#include "kedge/tools/harness/faults.h"

#include <sys/resource.h>

#include <algorithm>
#include <iterator>

#include "kedge/tools/harness/world_state.h"

namespace kedge::harness {
namespace {

namespace kernel = mach::kernel;

// One in so many steps has a fault of the scheduler's.
constexpr std::size_t steps_of_a_fault = 32;
// How long a process is slow, and how long it is suspended.
constexpr std::size_t most_slow_steps = 32;
constexpr std::uint64_t least_suspension = 1'000;  // ns
constexpr std::size_t suspensions = 6;             // each ten times as long as the one before

constexpr const char* point_names[] = {
    "no memory for a message",
    "the peer has died before the call",
    "no memory for descriptors",
    "no memory for an array of rights",
    "no memory for out-of-line memory",
    "a right was released meanwhile",
    "the queue is full",
    "the queue is at its ceiling",
    "interrupted",
    "the peer dies in the call",
    "the peer dies behind the call",
    "no addresses for out-of-line memory",
    "no memory for what arrives",
    "no names",
    "a name is used again at once",
    "no memory for a port",
    "room is reported early",
    "another library displaces a request",
};

constexpr std::uint32_t deaths = faults::peer_dies.points();

}  // namespace

const std::vector<std::pair<const char*, fault_set>>& fault_menu() {
  static const std::vector<std::pair<const char*, fault_set>> menu = {
      {"no buffer", faults::no_buffer},
      {"bad descriptor", faults::bad_descriptor},
      {"bad memory", faults::bad_memory},
      {"full queue", faults::full_queue},
      {"interrupted", faults::interrupted},
      {"destroyed after success", faults::destroyed_after_success},
      {"peer dies before a call", faults::peer_dies_before},
      {"peer dies after a call", faults::peer_dies_after},
      {"no room", faults::no_room},
      {"no names", faults::no_names},
      {"no memory", faults::no_memory},
      {"name reused", faults::name_reused},
      {"early send-possible", faults::early_send_possible},
      {"displaced request", faults::displaced_request},
      {"no descriptors", faults::no_descriptors},
      {"slow", faults::slow},
      {"suspended", faults::suspended},
      {"early time-out", faults::early_timeout},
  };
  return menu;
}

std::string to_string(fault_set f) {
  std::string text;
  for (const auto& [name, fault] : fault_menu()) {
    if (!f.has(fault)) continue;
    if (!text.empty()) text += ", ";
    text += name;
  }
  return text.empty() ? "none" : text;
}

std::string to_string(kernel::fault point) {
  const auto index = static_cast<std::size_t>(point);
  return index < std::size(point_names) ? point_names[index] : "fault " + std::to_string(index);
}

void world_state::note(event_kind what, running_process& p, std::string text) {
  event e = event_of(what, p);
  for (const char c : text) mix(static_cast<unsigned char>(c));
  e.note = log.add_note(std::move(text));
  log.add(e);
}

// The faults of the call that the process begins now: those that the test has planned for it, or
// what the seed decides.
void world_state::plan_fault(running_process& p) {
  for (planned_fault& each : p.planned) {
    if (each.call != p.calls) continue;
    kernel::plan_faults({.points = each.which.points(), .nth = each.which.nth(), .of = p.task});
    planned_now_ = &each;
    fault_is_planned_ = true;
    return;
  }
  const std::uint32_t allowed = p.faults.points();
  if (allowed == 0 || is_calm) return;
  if (!happens("fault", calls_of_a_fault)) return;
  std::vector<std::uint32_t> points;
  for (std::uint32_t bits = allowed; bits != 0; bits &= bits - 1) points.push_back(bits & -bits);
  const std::uint32_t point = points[choose("which fault", points.size())];
  kernel::plan_faults({.points = point, .nth = 1, .of = p.task});
  fault_is_planned_ = true;
}

// Returns whether there was a fault.
bool world_state::end_fault(running_process& p) {
  fault_is_planned_ = false;
  const kernel::fault_tally tally = kernel::end_faults();
  planned_fault* const planned = std::exchange(planned_now_, nullptr);
  if (planned != nullptr) planned->is_done = true;
  if (tally.caused == 0) {
    if (planned != nullptr) {
      note_wrong("FAULT NOT LEGAL: " + to_string(planned->which) + " cannot happen in call " +
                 std::to_string(p.calls) + " of \"" + p.name + "\", which is " + p.call.function +
                 "()");
    }
    return false;
  }
  note(event_kind::fault, p, to_string(tally.last));
  has_lost_peer_ |= (kernel::fault_plan::only(tally.last) & deaths) != 0;
  return true;
}

void world_state::check_plans() {
  for (const auto& p : processes) {
    for (const planned_fault& each : p->planned) {
      if (each.is_done || p->now == running_process::state::killed) continue;
      fail("FAULT NOT LEGAL: " + to_string(each.which) + " was planned for call " +
           std::to_string(each.call) + " of \"" + p->name + "\", which has made " +
           std::to_string(p->calls) + " calls");
    }
  }
}

void world_state::stall(running_process& p, std::uint64_t length) {
  p.stalled_until = time + length;
  note(event_kind::other, p, "gets no turn for " + to_milliseconds(length));
}

// Lets the seed decide whether a fault of the scheduler happens now. Returns true if it was the
// step.
bool world_state::disturb() {
  for (const auto& p : processes) {
    if (p->is_over()) continue;
    if (p->faults.has(faults::slow) && p->slow_until <= steps &&
        happens("slow", steps_of_a_fault)) {
      p->slow_until = steps + 1 + choose("slow steps", most_slow_steps);
    }
    if (p->faults.has(faults::suspended) && p->stalled_until <= time &&
        happens("suspend", steps_of_a_fault)) {
      std::uint64_t length = least_suspension;
      for (std::size_t i = choose("suspension", suspensions); i > 0; --i) length *= 10;
      stall(*p, length);
      return true;
    }
    if (p->faults.has(faults::early_timeout) && p->now == running_process::state::parked &&
        !p->is_woken && p->deadline > time && p->deadline == next_time() &&
        happens("time-out", steps_of_a_fault)) {
      note(event_kind::fault, *p, "its time-out comes early");
      move_time(p->deadline);
      return true;
    }
  }
  return false;
}

// Resumes the process while it can open no descriptor.
void world_state::resume_without_descriptors(running_process& p) {
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = 0;
  note(event_kind::fault, p, "no file descriptors in this step");
  setrlimit(RLIMIT_NOFILE, &none);
  resume(p);
  setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace kedge::harness
