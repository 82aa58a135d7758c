// The texts of a world: its story, and the report of a failure.
#include <mach/mach_error.h>

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <string>

#include "kedge/mach/kernel/snapshot.h"
#include "kedge/mach/ledger.h"
#include "kedge/mach/pooled_port.h"
#include "kedge/runtime/base/process_state.h"
#include "kedge/runtime/loop.h"
#include "kedge/tools/harness/world_state.h"

namespace kedge::harness {
namespace {

namespace kernel = mach::kernel;

constexpr std::size_t most_told = 40;  // events in a report

constexpr const char* fault_names[] = {
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

std::string name_of_fault(std::int32_t code) {
  const auto index = static_cast<std::size_t>(code);
  return index < std::size(fault_names) ? fault_names[index] : "fault " + std::to_string(code);
}

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

std::string padded(const std::string& text, std::size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text;
}

std::string padded(std::uint64_t number, std::size_t width) {
  const std::string text = std::to_string(number);
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string milliseconds(std::uint64_t nanoseconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g ms", static_cast<double>(nanoseconds) / 1e6);
  return text;
}

class teller {
 public:
  explicit teller(const world_state& w) noexcept : world_(w) {}

  std::string process(process_index i) const {
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
    std::string text = padded(e.step, 5) + " ";
    const std::string who =
        e.of == no_process ? std::string() : process(e.of) + " #" + std::to_string(e.call);
    const auto message = [&] { return world_.log.messages()[e.index]; };
    switch (e.what) {
      case event_kind::sent: {
        const message_record m = message();
        text += padded(who, 12) + " -> " + padded(port(m.port), 10) + "  " + std::to_string(m.id) +
                carried(m);
        if (m.depth != 0) text += "  behind " + std::to_string(m.depth);
        break;
      }
      case event_kind::received: {
        const message_record m = message();
        text += padded(who, 12) + " <- " + padded(process(m.sender), 10) + "  " +
                std::to_string(m.id) + "  on " + port(m.port);
        break;
      }
      case event_kind::not_sent: {
        const message_record m = message();
        text += padded(who, 12) + " x> " + padded(port(m.port), 10) + "  " + std::to_string(m.id) +
                "  " + mach_error_string(e.code);
        break;
      }
      case event_kind::killed:
        text += "KILL " + process(e.of) + " before call " + std::to_string(e.call + 1);
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
        text += "TIME moves by " + milliseconds(e.amount);
        break;
      case event_kind::fault:
        text += "FAULT " + who + ": " + name_of_fault(e.code);
        break;
    }
    return text;
  }

  std::string waiting(const running_process& p) const {
    const kernel::scheduled_call& call = p.call;
    std::string text;
    if (p.is_suspended) {
      text = "is suspended";
    } else if (p.now == running_process::state::ready) {
      text = "can run";
    } else if (p.place == nullptr) {
      text = "sleeps";
    } else if (call.sent != nullptr && p.sending) {
      text = "room in " + port(p.sending->port);
    } else if ((call.options & MACH_RCV_MSG) != 0) {
      const std::uint64_t from = kernel::port_number(p.task, call.receive_name);
      text = "a message on " + (from == 0 ? std::string("a port set") : port(from));
    } else {
      text = "an event of its loop";
    }
    text += " since step " + std::to_string(p.parked_at);
    if (p.deadline != base::parker::never) {
      text += ", until " + milliseconds(p.deadline - world_state::first_time);
    }
    return text;
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

// What the process owns, by the library's ledger, in its own space.
std::string ledger_of(const running_process& p) {
  const kernel::current_task_guard inside(p.task);
  return mach::ledger::to_string();
}

}  // namespace

std::string world_state::story() const {
  const teller tell(*this);
  std::string text;
  for (const event& e : log.events()) text += tell.line(e) + "\n";
  return text;
}

std::string world_state::report(std::string_view what) const {
  const kernel::current_task_guard outside({});
  const teller tell(*this);
  std::string text = "FAILED: " + std::string(what) + "\n  after " + std::to_string(steps) +
                     " steps, " + milliseconds(time - first_time) + " of virtual time\n  seed " +
                     std::to_string(seed) + "\n";
  text += "who waits:\n";
  for (const auto& p : processes) {
    if (p->is_over()) continue;
    text += "  " + padded(p->name, 10) + " " + tell.waiting(*p) + "\n";
    text += indented(tasks_of(*p), "    ");
  }
  const auto events = log.events();
  const std::size_t first = events.size() > most_told ? events.size() - most_told : 0;
  text += "what led here (" + std::to_string(events.size() - first) + " of " +
          std::to_string(events.size()) + " events):\n";
  for (const event& e : events.subspan(first)) text += tell.line(e) + "\n";
  std::string left;
  for (const auto& p : processes) {
    if (p->is_over() || !mach::ledger::is_kept()) continue;
    left += indented(ledger_of(*p), ("  " + padded(p->name, 10) + " ").c_str());
  }
  if (!left.empty()) text += "what the processes own:\n" + left;
  return text;
}

void world_state::check_rest() {
  const teller tell(*this);
  for (const auto& p : processes) {
    if (!p->is_over() && !p->is_service() && !p->is_suspended) {
      fail("DEADLOCK: \"" + p->name + "\" waits for ever: " + tell.waiting(*p));
    }
  }
}

void world_state::check_leaks() {
  const kernel::current_task_guard outside({});
  const kernel::snapshot now = kernel::take_snapshot();
  const teller tell(*this);
  std::string left;
  for (const auto& p : processes) {
    if (p->is_over()) continue;
    if (!p->first_wait) continue;
    for (const kernel::leak& each :
         kernel::leaks_between(*p->first_wait, now, mach::pooled_port_name)) {
      if (each.owner.id != p->task.id) continue;
      const std::uint64_t port = kernel::port_number(p->task, each.right.name);
      const bool is_dead = (each.right.type & MACH_PORT_TYPE_DEAD_NAME) != 0;
      left += "  " + padded(p->name, 10) + " ";
      left += is_dead                                             ? "dead name"
              : (each.right.type & MACH_PORT_TYPE_RECEIVE) != 0   ? "receive"
              : (each.right.type & MACH_PORT_TYPE_SEND) != 0      ? "send"
              : (each.right.type & MACH_PORT_TYPE_SEND_ONCE) != 0 ? "send once"
                                                                  : "port set";
      if (!is_dead) left += " " + tell.port(port);
      left += "\n";
    }
  }
  if (!left.empty()) fail("LEAK: rights are left that were not there at the first wait:\n" + left);
}

}  // namespace kedge::harness
