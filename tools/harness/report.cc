// The texts of a world: its story, and the report of a failure.
#include <mach/mach_error.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

#include "kedge/mach/kernel/snapshot.h"
#include "kedge/runtime/base/process_state.h"
#include "kedge/runtime/loop.h"
#include "kedge/tools/harness/call_place.h"
#include "kedge/tools/harness/run_context.h"
#include "kedge/tools/harness/world_state.h"

namespace kedge::harness {
namespace {

const char* program_name() noexcept {
#if defined(__APPLE__)
  return ::getprogname();
#else
  return program_invocation_name;
#endif
}

namespace kernel = mach::kernel;

constexpr std::size_t most_told = 40;  // events in a report

const char* name_of_right(mach_msg_type_name_t kind) noexcept {
  switch (kind) {
    case MACH_MSG_TYPE_PORT_RECEIVE:
      return "receive";
    case MACH_MSG_TYPE_PORT_SEND:
      return "send";
    case MACH_MSG_TYPE_PORT_SEND_ONCE:
      return "send once";
    default:
      return "no right";
  }
}

std::string right_aligned(std::uint64_t number, std::size_t width) {
  const std::string text = std::to_string(number);
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

class teller {
 public:
  explicit teller(const world_state& w) noexcept : world_(w) {}

  std::string process(process_index i) const {
    if (i == the_test) return "the test";
    return i == no_process ? "the kernel" : world_.processes[i]->name;
  }

  std::string port(std::uint64_t number) const {
    if (number == 0) return "a dead name";
    const event_log::port_name named = world_.log.name_of(number);
    if (named.maker == no_process) return "port " + std::to_string(number);
    return process(named.maker) + "." + std::to_string(named.number);
  }

  std::string carried(const message_record& m) const {
    std::string text;
    for (const carried_right& each : m.rights) {
      text += text.empty() ? "  carries " : ", ";
      text += each.is_reply ? "reply" : name_of_right(each.kind);
      text += " " + port(each.port);
    }
    return text;
  }

  std::string line(const event& e) const {
    std::string text = right_aligned(e.step, 5) + " ";
    const std::string who =
        e.of == no_process ? std::string() : process(e.of) + " #" + std::to_string(e.call);
    const auto message = [&] { return world_.log.messages()[e.index]; };
    switch (e.what) {
      case event_kind::sent: {
        const message_record m = message();
        text += padded(who, 12) + " -> " + padded(port(m.port), 10) + "  " +
                world_.name_of_message(m.id) + carried(m);
        if (m.depth != 0) text += "  behind " + std::to_string(m.depth);
        break;
      }
      case event_kind::received: {
        const message_record m = message();
        text += padded(who, 12) + " <- " + padded(process(m.sender), 10) + "  " +
                world_.name_of_message(m.id) + "  on " + port(m.port);
        break;
      }
      case event_kind::not_sent: {
        const message_record m = message();
        text += padded(who, 12) + " x> " + padded(port(m.port), 10) + "  " +
                world_.name_of_message(m.id) + "  " + mach_error_string(e.code);
        break;
      }
      case event_kind::killed:
        text += "KILL " + process(e.of) + " before call " + std::to_string(e.call + 1) +
                world_.log.note(e);
        break;
      case event_kind::ended:
        text += process(e.of) + " ends with " + std::to_string(e.code);
        break;
      case event_kind::suspended:
        text += process(e.of) + " is suspended";
        break;
      case event_kind::resumed:
        text += process(e.of) + " is resumed";
        break;
      case event_kind::time:
        text += "TIME moves by " + to_milliseconds(e.amount);
        break;
      case event_kind::fault:
        text += "FAULT " + who + ": " + world_.log.note(e);
        break;
      case event_kind::guard:
        text += "GUARD EXCEPTION " + who + ": " + world_.log.note(e);
        break;
      case event_kind::other:
        text += process(e.of) + " " + world_.log.note(e);
        break;
    }
    return text;
  }

  std::string waiting(const running_process& p, const kernel::snapshot& now) const {
    const kernel::scheduled_call& call = p.call;
    std::string text;
    const bool is_parked = p.now == running_process::state::parked;
    if (p.is_suspended) {
      text = "is suspended";
    } else if (world_.is_held(p)) {
      text = "is held by the test";
    } else if (p.stalled_until > world_.time) {
      text = "gets no turn until " + to_milliseconds(p.stalled_until - world_state::first_time);
    } else if (&p == world_state::running()) {
      text = "runs";
    } else if (!is_parked) {
      text = "can run";
    } else if (p.place == nullptr) {
      text = "sleeps";
    } else if (!p.is_in_call) {
      text = "an event of its loop";
    } else if (call.sent != nullptr && p.sending) {
      text = "room in " + port(p.sending->port) + queue_of(p.sending->port, now);
    } else if ((call.options & MACH_RCV_MSG) != 0) {
      const std::uint64_t from = kernel::port_number(p.task, call.receive_name);
      text = is_reply_port(p, from) ? "reply on "
             : p.is_service()       ? "next request on "
                                    : "a message on ";
      text += from == 0 ? std::string("a port set") : port(from) + queue_of(from, now);
    } else {
      text = std::string("in ") + call.function + "()";
    }
    if (is_parked) text += " since step " + std::to_string(p.parked_at);
    if (is_parked && p.deadline != base::parker::never) {
      text += ", until " + to_milliseconds(p.deadline - world_state::first_time);
    }
    return text;
  }

  // Whether the process has sent a right to reply to the port.
  bool is_reply_port(const running_process& p, std::uint64_t number) const {
    return std::ranges::any_of(world_.log.messages(), [&](const message_record& m) {
      return m.sender == p.index && std::ranges::any_of(m.rights, [&](const carried_right& r) {
               return r.is_reply && r.port == number;
             });
    });
  }

  // " (0 of 5)": the messages in the port's queue, and its limit.
  std::string queue_of(std::uint64_t number, const kernel::snapshot& now) const {
    for (const kernel::snapshot::port& each : now.ports) {
      for (const auto& p : world_.processes) {
        if (p->is_over() || each.receiver.id != p->task.id || each.name == MACH_PORT_NULL) continue;
        if (kernel::port_number(p->task, each.name) != number) continue;
        return " (" + std::to_string(each.queue.size()) + " of " +
               std::to_string(each.queue_limit) + ")";
      }
    }
    return {};
  }

 private:
  const world_state& world_;
};

// The tasks of the process's loop, if it waits in one: a line each.
std::string tasks_of(running_process& p) {
  if (p.now != running_process::state::parked) return {};
  std::ostringstream text;
  base::process_state::exchange(p.thread_state.get());
  if (loop* const in = loop::current()) in->dump(text);
  base::process_state::exchange(p.thread_state.get());
  return text.str();
}

std::string indented(const std::string& lines, const char* by) {
  std::string text;
  std::istringstream in(lines);
  for (std::string each; std::getline(in, each);) text += by + each + "\n";
  return text;
}

}  // namespace

std::string padded(const std::string& text, std::size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text;
}

// The command that runs this seed of this test again.
std::string again(std::uint64_t seed) {
  const run_context& context = run_context::current();
  std::string test;
  for (const char c : context.test) {
    if (c == ',') test += '\\';  // doctest's separator of names
    test += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  if (!test.empty()) test = "-tc='" + test + "'";
  if (const char* const command = std::getenv("KEDGE_AGAIN")) {
    return std::string(command) + " --seed " + std::to_string(seed) +
           (test.empty() ? "" : " -- " + test);
  }
  return "KEDGE_SEED=" + std::to_string(seed) + " " + program_name() +
         (test.empty() ? "" : " " + test);
}

std::string to_milliseconds(std::uint64_t nanoseconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g ms", static_cast<double>(nanoseconds) / 1e6);
  return text;
}

std::string world_state::describe(const message_record& m) const {
  const teller tell(*this);
  return name_of_message(m.id) + " from " + tell.process(m.sender) + " at step " +
         std::to_string(m.sent_at) + " to " + tell.port(m.port) +
         (m.receiver == no_process ? ", not received"
                                   : ", received by " + tell.process(m.receiver));
}

std::string world_state::name_of_port(std::uint64_t number) const {
  return teller(*this).port(number);
}

std::string world_state::story() {
  name_ports();
  const teller tell(*this);
  std::string text;
  for (const event& e : log.events()) text += tell.line(e) + "\n";
  return text;
}

// Lets the process capture its own stack.
void world_state::ask_for_stack(running_process& p) {
  p.call_stack.clear();
  if (!p.has_run) return;
  if (&p == running()) {
    p.call_stack = capture_stack();
    return;
  }
  p.is_asked_for_stack = true;
  resume(p);
}

// The events that are in the causal past of the last ones of these processes: what came before in
// the same process, the sending of what was received, the time that has woken one, the deaths that
// the kernel has told of. All deaths, faults and guard exceptions count as causes.
std::vector<bool> world_state::causes(std::vector<process_index> of) {
  const auto events = log.events();
  std::vector<bool> found(events.size(), false);
  std::vector<std::size_t> before(events.size(), events.size());  // of the same process
  std::vector<std::size_t> sending(log.messages().size(), events.size());
  std::vector<std::size_t> last(processes.size(), events.size());
  std::vector<std::size_t> to_do;
  std::size_t last_death = events.size();
  std::vector<std::size_t> death(events.size(), events.size());
  for (std::size_t i = 0; i < events.size(); ++i) {
    const event& e = events[i];
    if (e.what == event_kind::sent) sending[e.index] = i;
    death[i] = last_death;
    if (e.what == event_kind::killed || e.what == event_kind::ended) last_death = i;
    if (e.what == event_kind::killed || e.what == event_kind::fault ||
        e.what == event_kind::guard) {
      to_do.push_back(i);
    }
    if (e.of < processes.size()) before[i] = std::exchange(last[e.of], i);
  }
  for (const process_index each : of) to_do.push_back(last[each]);
  while (!to_do.empty()) {
    const std::size_t i = to_do.back();
    to_do.pop_back();
    if (i == events.size() || found[i]) continue;
    found[i] = true;
    const event& e = events[i];
    to_do.push_back(before[i]);
    if (e.cause != 0) to_do.push_back(e.cause - 1);
    if (e.what != event_kind::received) continue;
    to_do.push_back(sending[e.index]);
    if (log.messages()[e.index].sender == no_process) to_do.push_back(death[i]);
  }
  return found;
}

std::string world_state::report(std::string_view of_failure, std::vector<process_index> of) {
  std::string what(of_failure);
  // The machine's process ends while one of the world runs.
  if (const running_process* const p = running()) {
    what += " in \"" + p->name + "\" behind call " + std::to_string(p->calls);
    of.push_back(p->index);
  }
  const kernel::current_task_guard outside({});
  name_ports();
  const teller tell(*this);
  const run_context& context = run_context::current();
  const std::size_t line_end = std::min(what.find('\n'), what.size());
  std::string text = "FAILED ";
  if (!context.test.empty()) text += context.test + ": ";
  text += what.substr(0, line_end) + " after " + std::to_string(steps) + " steps, " +
          to_milliseconds(time - first_time) + " of virtual time" + what.substr(line_end) +
          "\n  seed " + std::to_string(seed);
  if (context.first != context.last) {
    text += " of " + std::to_string(context.first) + ".." + std::to_string(context.last);
  }
  text += "\n";
  for (const auto& p : processes) {
    if (!p->faults.is_empty()) {
      text += "  faults switched on for " + p->name + ": " + to_string(p->faults) + "\n";
    }
  }
  if (context.first != 0) text += "again:  " + again(seed) + "\n";

  const kernel::snapshot now = kernel::take_snapshot();
  for (const auto& p : processes) {
    if (p->is_over() || !p->is_in_call || (p->call.options & MACH_RCV_MSG) == 0) continue;
    const std::uint64_t port = kernel::port_number(p->task, p->call.receive_name);
    log.see_port(port);
    log.name_port(port, p->index);
  }
  std::string waiting;
  for (const auto& p : processes) {
    if (p->is_over()) continue;
    ask_for_stack(*p);
    const std::string place = place_of(p->call_stack);
    waiting += "  " + padded(p->name, 10) + " " + tell.waiting(*p, now) +
               (place.empty() ? "" : ", " + place) + "\n" + indented(tasks_of(*p), "    ");
  }
  if (!waiting.empty()) text += "who waits:\n" + waiting;

  // What a process waits for is up to those who can send it something.
  for (std::size_t i = 0; i < of.size(); ++i) {
    for (const kernel::snapshot::port& port : now.ports) {
      if (port.receiver.id != processes[of[i]]->task.id) continue;
      for (const auto& p : processes) {
        if (p->is_over() || std::ranges::find(of, p->index) != of.end()) continue;
        const auto space = std::ranges::find_if(
            now.spaces, [&](const auto& each) { return each.owner.id == p->task.id; });
        if (space == now.spaces.end()) continue;
        if (std::ranges::any_of(space->rights, [&](const auto& r) { return r.of == port.id; })) {
          of.push_back(p->index);
        }
      }
    }
  }
  const auto events = log.events();
  std::vector<bool> told(events.size(), true);
  if (!context.is_full && !of.empty()) told = causes(std::move(of));
  auto count = static_cast<std::size_t>(std::ranges::count(told, true));
  if (!context.is_full) {
    for (std::size_t i = 0; count > most_told; ++i) {
      if (!told[i]) continue;
      told[i] = false;
      --count;
    }
  }
  text += "what led here (" + std::to_string(count) + " of " + std::to_string(events.size()) +
          " events" + (count < events.size() ? "; KEDGE_FULL=1 tells all" : "") + "):\n";
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (told[i]) text += tell.line(events[i]) + "\n";
  }
  const std::string left = leftovers();
  if (!left.empty()) text += "left at the end, and not there at the first wait:\n" + left;
  return text;
}

}  // namespace kedge::harness
