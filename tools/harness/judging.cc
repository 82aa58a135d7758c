// Implements what a world finds wrong by itself: processes that wait for ever, rights that are
// left, guard exceptions, steps without end. And what it knows of the ports that processes share.
#include <mach/mach_port.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "kedge/mach/kernel/snapshot.h"
#include "kedge/mach/ledger.h"
#include "kedge/mach/pooled_port.h"
#include "kedge/tools/harness/world_state.h"

namespace kedge::harness {
namespace {

namespace kernel = mach::kernel;

const char* name_of_right(mach_port_type_t type) noexcept {
  if ((type & MACH_PORT_TYPE_DEAD_NAME) != 0) return "dead name";
  if ((type & MACH_PORT_TYPE_RECEIVE) != 0) return "receive";
  if ((type & MACH_PORT_TYPE_SEND) != 0) return "send";
  if ((type & MACH_PORT_TYPE_SEND_ONCE) != 0) return "send once";
  return "port set";
}

// The guards of <mach/port.h>, as far as they have names of one word.
std::string name_of_guard(std::uint32_t code) {
  constexpr std::pair<std::uint32_t, const char*> names[] = {
      {kGUARD_EXC_DESTROY, "DESTROY"},
      {kGUARD_EXC_MOD_REFS, "MOD_REFS"},
      {kGUARD_EXC_SET_CONTEXT, "SET_CONTEXT"},
      {kGUARD_EXC_UNGUARDED, "UNGUARDED"},
      {kGUARD_EXC_INCORRECT_GUARD, "INCORRECT_GUARD"},
      {kGUARD_EXC_IMMOVABLE, "IMMOVABLE"},
      {kGUARD_EXC_STRICT_REPLY, "STRICT_REPLY"},
      {kGUARD_EXC_INVALID_RIGHT, "INVALID_RIGHT"},
      {kGUARD_EXC_INVALID_NAME, "INVALID_NAME"},
      {kGUARD_EXC_INVALID_VALUE, "INVALID_VALUE"},
      {kGUARD_EXC_INVALID_ARGUMENT, "INVALID_ARGUMENT"},
      {kGUARD_EXC_RIGHT_EXISTS, "RIGHT_EXISTS"},
      {kGUARD_EXC_KERN_NO_SPACE, "KERN_NO_SPACE"},
      {kGUARD_EXC_KERN_FAILURE, "KERN_FAILURE"},
      {kGUARD_EXC_KERN_RESOURCE, "KERN_RESOURCE"},
      {kGUARD_EXC_SEND_INVALID_REPLY, "SEND_INVALID_REPLY"},
      {kGUARD_EXC_SEND_INVALID_VOUCHER, "SEND_INVALID_VOUCHER"},
      {kGUARD_EXC_SEND_INVALID_RIGHT, "SEND_INVALID_RIGHT"},
      {kGUARD_EXC_RCV_INVALID_NAME, "RCV_INVALID_NAME"},
      {kGUARD_EXC_RCV_GUARDED_DESC, "RCV_GUARDED_DESC"},
  };
  for (const auto& [each, name] : names) {
    if (each == code) return name;
  }
  return "code " + std::to_string(code);
}

}  // namespace

void running_process::demand_life(const char* done_to) const {
  if (!is_over()) return;
  throw std::logic_error("kedge::harness: \"" + name + "\" has ended, and cannot be " + done_to);
}

bool world_state::is_held(const running_process& p) const noexcept {
  if (p.is_held) return true;
  if (p.held_messages.empty() || !p.is_in_call || p.call.sent == nullptr) return false;
  return std::ranges::find(p.held_messages, p.call.sent->msgh_id) != p.held_messages.end();
}

std::string world_state::name_of_message(mach_msg_id_t id) const {
  const auto found = message_names.find(id);
  return found != message_names.end() ? found->second : std::to_string(id);
}

void world_state::name_ports() {
  if (log.unnamed_ports().empty()) return;
  const kernel::current_task_guard outside({});
  const kernel::snapshot now = kernel::take_snapshot();
  std::unordered_map<std::uint64_t, process_index> receivers;
  for (const auto& p : processes) {
    for (const kernel::snapshot::port& each : now.ports) {
      if (each.receiver.id != p->task.id || each.name == MACH_PORT_NULL) continue;
      receivers[kernel::port_number(p->task, each.name)] = p->index;
    }
  }
  const std::vector<std::uint64_t> unnamed = log.unnamed_ports();
  for (const std::uint64_t each : unnamed) {
    if (const auto found = receivers.find(each); found != receivers.end()) {
      log.name_port(each, found->second);
    }
  }
}

// Called before the task of the process ends. Keeps which names of others become dead names.
// Returns which of them have asked to be notified.
std::string world_state::note_death(running_process& p) {
  name_ports();
  const kernel::snapshot now = kernel::take_snapshot();
  std::string text;
  for (const kernel::snapshot::port& dying : now.ports) {
    if (dying.receiver.id != p.task.id || dying.name == MACH_PORT_NULL) continue;
    const std::uint64_t number = kernel::port_number(p.task, dying.name);
    for (const auto& other : processes) {
      if (other.get() == &p || other->is_over()) continue;
      const auto space = std::ranges::find_if(
          now.spaces, [&](const auto& each) { return each.owner.id == other->task.id; });
      if (space == now.spaces.end()) continue;
      for (const kernel::snapshot::right& each : space->rights) {
        if (each.of != dying.id) continue;
        other->dead_names[each.name] = number;
        log.see_port(number);
        log.name_port(number, p.index);
        text += text.empty() ? ": " : "; ";
        text += name_of_port(number) + " dies, ";
        text += each.notify != 0 ? other->name + " is notified"
                                 : "no notification is armed in " + other->name;
      }
    }
  }
  return text;
}

void world_state::take_guards(running_process& p) {
  const kernel::current_task_guard outside({});
  for (const kernel::guard_exception& each : kernel::take_guard_exceptions(p.task)) {
    const std::uint64_t port = kernel::port_number(p.task, each.name);
    note(event_kind::guard, p,
         name_of_guard(each.code) + ", " +
             (port != 0 ? name_of_port(port) : "name " + std::to_string(each.name)) + " in " +
             (p.call.function != nullptr ? p.call.function : "a call") + "()");
    p.guards.push_back(each);
  }
}

void world_state::check_guards() {
  std::string found;
  std::vector<process_index> of;
  for (const auto& p : processes) {
    if (!p->is_over()) take_guards(*p);
    if (p->guards_are_expected || p->guards.empty()) continue;
    of.push_back(p->index);
    for (const event& e : log.events()) {
      if (e.what != event_kind::guard || e.of != p->index) continue;
      found += "\n  " + p->name + " #" + std::to_string(e.call) + " at step " +
               std::to_string(e.step) + ": " + log.note(e);
    }
  }
  if (!found.empty()) fail("GUARD EXCEPTION" + found, std::move(of));
}

// What a livelock does again and again: the calls made last, each with how often.
std::string world_state::repetition() const {
  std::vector<std::pair<std::string, int>> counts;
  for (const past_call& each : past_) {
    if (each.function == nullptr) continue;
    const std::string text = processes[each.of]->name + " calls " + each.function + "()";
    const auto at = std::ranges::find(counts, text, &std::pair<std::string, int>::first);
    if (at != counts.end()) {
      ++at->second;
    } else {
      counts.emplace_back(text, 1);
    }
  }
  std::ranges::sort(counts, [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  std::string text;
  int of_all = 0;
  for (const auto& [what, count] : counts) of_all += count;
  for (std::size_t i = 0; i < counts.size() && i < 6; ++i) {
    text += text.empty() ? "\n  of the last " + std::to_string(of_all) + " calls:" : ",";
    text += " " + std::to_string(counts[i].second) + " times " + counts[i].first;
  }
  return text;
}

void world_state::check_rest() {
  std::string found;
  std::vector<process_index> of;
  for (const auto& p : processes) {
    if (p->is_over() || p->is_service() || p->is_suspended) continue;
    found += (found.empty() ? "\"" : ", \"") + p->name + "\"";
    if (is_held(*p)) found += " (held by the test)";
    of.push_back(p->index);
  }
  if (of.empty()) return;
  found += of.size() == 1 ? " waits for ever" : " wait for ever";
  fail("DEADLOCK: " + found, std::move(of));
}

// The rights that the process has now, and had not when it first waited: a line each.
std::string world_state::leftovers(std::vector<process_index>* of) {
  name_ports();
  const kernel::current_task_guard outside({});
  const kernel::snapshot now = kernel::take_snapshot();
  std::string text;
  for (const auto& p : processes) {
    if (p->is_over() || !p->first_wait) continue;
    std::vector<mach::ledger::entry> owned;
    if (mach::ledger::is_kept()) {
      const kernel::current_task_guard inside(p->task);
      owned = mach::ledger::entries();
    }
    for (const kernel::leak& each :
         kernel::leaks_between(*p->first_wait, now, mach::pooled_port_name)) {
      if (each.owner.id != p->task.id) continue;
      // A right whose port has died becomes a dead name when a call looks it up.
      const auto stands_for =
          std::ranges::find(now.ports, each.right.of, &kernel::snapshot::port::id);
      const bool is_dead = (each.right.type & MACH_PORT_TYPE_DEAD_NAME) != 0 ||
                           (stands_for != now.ports.end() && !stands_for->alive);
      std::uint64_t port = kernel::port_number(p->task, each.right.name);
      if (const auto found = p->dead_names.find(each.right.name);
          is_dead && found != p->dead_names.end()) {
        port = found->second;
      }
      if (of != nullptr && (of->empty() || of->back() != p->index)) of->push_back(p->index);
      text += "  " + padded(p->name, 10) + " " +
              name_of_right(is_dead ? MACH_PORT_TYPE_DEAD_NAME : each.right.type);
      if (port != 0) text += " " + name_of_port(port);
      if (each.references_before != 0) {
        text += ", " + std::to_string(each.right.references - each.references_before) +
                " more references";
      }
      // The message that has brought it last.
      const auto messages = log.messages();
      const auto brought = std::find_if(messages.rbegin(), messages.rend(), [&](const auto& m) {
        return m.receiver == p->index && port != 0 &&
               std::ranges::any_of(m.rights, [&](const auto& r) { return r.port == port; });
      });
      if (brought != messages.rend()) {
        text += ", received at step " + std::to_string(brought->received_at);
      }
      const auto entry = std::ranges::find(owned, each.right.name, &mach::ledger::entry::name);
      if (entry != owned.end()) {
        const std::string_view file = entry->where.file_name();
        text += ", " + std::string(file.substr(file.rfind('/') + 1)) + ":" +
                std::to_string(entry->where.line());
      }
      text += "\n";
    }
  }
  return text;
}

void world_state::check_leaks() {
  std::vector<process_index> of;
  leftovers(&of);
  if (of.empty()) return;
  fail("LEAK: rights are left that were not there at the first wait", std::move(of));
}

// --- By hand -------------------------------------------------------------------------------------

std::size_t world_state::fill(running_process& p, std::uint32_t number, mach_msg_id_t id) {
  name_ports();
  const kernel::current_task_guard outside({});
  std::uint64_t port = 0;
  mach_port_name_t receive_name = MACH_PORT_NULL;
  for (const kernel::snapshot::port& each : kernel::take_snapshot().ports) {
    if (each.receiver.id != p.task.id || each.name == MACH_PORT_NULL) continue;
    const std::uint64_t seen = kernel::port_number(p.task, each.name);
    const event_log::port_name named = log.name_of(seen);
    if (named.maker != p.index || named.number != number) continue;
    port = seen;
    receive_name = each.name;
  }
  if (port == 0) {
    throw std::invalid_argument("kedge::harness: \"" + p.name +
                                "\" receives from no port that messages have named \"" + p.name +
                                "." + std::to_string(number) + "\"");
  }
  const mach_port_t task = kernel::task_self_port(p.task);
  mach_port_t right = MACH_PORT_NULL;
  mach_msg_type_name_t kind = 0;
  const kern_return_t made =
      mach_port_extract_right(task, receive_name, MACH_MSG_TYPE_MAKE_SEND, &right, &kind);
  mach_port_deallocate(mach_task_self(), task);
  if (made != KERN_SUCCESS) throw std::logic_error("kedge::harness: the port cannot be filled");
  filling_.push_back(right);
  std::size_t count = 0;
  for (;; ++count) {
    mach_msg_header_t m{};
    m.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0);
    m.msgh_size = sizeof m;
    m.msgh_remote_port = right;
    m.msgh_id = id;
    if (mach_msg(&m, MACH_SEND_MSG | MACH_SEND_TIMEOUT, sizeof m, 0, MACH_PORT_NULL, 0,
                 MACH_PORT_NULL) != MACH_MSG_SUCCESS) {
      break;
    }
    message_record sent;
    sent.id = id;
    sent.port = port;
    sent.sender = the_test;
    sent.sent_at = static_cast<std::uint32_t>(steps);
    log.add_sent(std::move(sent));
  }
  return count;
}

}  // namespace kedge::harness
