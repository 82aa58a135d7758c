// Implements take_snapshot() and to_string(): reads the words of the kernel's snapshot call.
#include "kedge/mach/kernel/snapshot.h"

#include <array>
#include <cstdio>
#include <new>

#include "kedge/mach/kernel/abi/current_binding.h"
#include "kedge/mach/kernel/core/calls/snapshot_call.h"
#include "kedge/mach/kernel/core/kernel.h"
#include "kedge/mach/kernel/core/port.h"

namespace kedge::mach::kernel {
namespace {

std::vector<std::uint64_t> fetch() {
  for (std::vector<std::uint64_t> words(1024);;) {
    const auto answer = call(requests::snapshot{user_buffer_of(words.data(), words.size())});
    if (answer.result != KERN_SUCCESS) {
      if (answer.result == KERN_TERMINATED) return {};
      throw std::bad_alloc();
    }
    const std::uint64_t needed = answer.fields.words;
    const bool all = needed <= words.size();
    // The next snapshot may be larger still.
    words.resize(all ? needed : needed + needed / 4);
    if (all) return words;
  }
}

// Reads one word after the other, each as the type of its destination.
class words_of {
 public:
  explicit words_of(const std::vector<std::uint64_t>& all) : all_(all) {}
  bool more() const { return at_ < all_.size(); }
  template <typename T>
  words_of& operator>>(T& into) {
    into = static_cast<T>(all_[at_++]);
    return *this;
  }
  words_of& operator>>(task& into) {
    *this >> into.id;
    if (into.id == kernel::first_task_id) into.id = 0;  // the process's own task
    return *this;
  }

 private:
  const std::vector<std::uint64_t>& all_;
  std::size_t at_ = 0;
};

const char* name_of(kernel_object kind) {
  switch (kind) {
    case kernel_object::none:
      return "";
    case kernel_object::timer:
      return "timer";
    case kernel_object::task:
      return "task";
    case kernel_object::thread:
      return "thread";
    case kernel_object::host:
      return "host";
    case kernel_object::bootstrap:
      return "bootstrap";
    case kernel_object::semaphore:
      return "semaphore";
    case kernel_object::file:
      return "file";
    case kernel_object::voucher:
      return "voucher";
    case kernel_object::memory_entry:
      return "memory entry";
    case kernel_object::clock:
      return "clock";
  }
  return "";
}

snapshot::port read_port(words_of& from) {
  snapshot::port made;
  kernel_object kind{};
  from >> made.id >> kind >> made.receiver >> made.name >> made.alive >> made.guarded >>
      made.context >> made.queue_limit >> made.send_rights >> made.send_once_rights >>
      made.make_send_count >> made.sequence_number >> made.no_senders >> made.port_destroyed >>
      made.waiting_receivers >> made.waiting_senders >> made.knotes;
  made.serves = name_of(kind);
  return made;
}

// Appends what printf would print, up to 255 characters.
template <typename... Arguments>
void append(std::string& to, const char* format, Arguments... arguments) {
  std::array<char, 256> line;
  const int length = std::snprintf(line.data(), line.size(), format, arguments...);
  to.append(line.data(), static_cast<std::size_t>(length));
}

unsigned long long wide(std::uint64_t number) {
  return number;
}

std::string words_for(mach_port_type_t type) {
  static constexpr std::pair<mach_port_type_t, const char*> rights[] = {
      {MACH_PORT_TYPE_SEND, "send"},
      {MACH_PORT_TYPE_RECEIVE, "receive"},
      {MACH_PORT_TYPE_SEND_ONCE, "send-once"},
      {MACH_PORT_TYPE_PORT_SET, "set"},
      {MACH_PORT_TYPE_DEAD_NAME, "dead"}};
  std::string all;
  for (const auto& [bit, word] : rights) {
    if ((type & bit) == 0) continue;
    if (!all.empty()) all += '+';
    all += word;
  }
  return all;
}

void describe(std::string& to, const snapshot::right& right) {
  append(to, "  0x%08x %s", right.name, words_for(right.type).c_str());
  if (right.references > 0) append(to, " x%u", right.references);
  if (right.of != 0) append(to, " of #%u", right.of);
  if (right.notify != 0) {
    append(to, ", %s to #%u", right.type & MACH_PORT_TYPE_SPREQUEST ? "send-possible" : "dead-name",
           right.notify);
  }
  to += '\n';
}

void describe_waits(std::string& to, std::uint32_t receivers, std::uint32_t senders,
                    std::uint32_t knotes) {
  if (receivers > 0) append(to, ", %u waiting to receive", receivers);
  if (senders > 0) append(to, ", %u waiting to send", senders);
  if (knotes > 0) append(to, ", %u knotes", knotes);
}

void describe(std::string& to, const snapshot::port& port, port_purpose purpose) {
  append(to, "port #%u", port.id);
  const char* const use = purpose != nullptr && port.guarded ? purpose(port.context) : nullptr;
  if (use != nullptr) append(to, " (%s)", use);
  if (!port.serves.empty()) {
    append(to, " of the kernel: %s", port.serves.c_str());
  } else if (!port.alive) {
    to += " dead";
  } else if (port.name == MACH_PORT_NULL) {
    to += " on its way";
  } else {
    append(to, " received by task %llu as 0x%08x", wide(port.receiver.id), port.name);
  }
  append(to, ": send %u, send-once %u, make-send %u, queued %zu of %u", port.send_rights,
         port.send_once_rights, port.make_send_count, port.queue.size(), port.queue_limit);
  if (port.guarded) append(to, ", guard 0x%llx", wide(port.context));
  if (port.no_senders != 0) append(to, ", no-senders to #%u", port.no_senders);
  if (port.port_destroyed != 0) append(to, ", port-destroyed to #%u", port.port_destroyed);
  describe_waits(to, port.waiting_receivers, port.waiting_senders, port.knotes);
  to += '\n';
  for (const snapshot::message& each : port.queue) {
    append(to, "  message %d, %u bytes\n", each.id, each.size);
  }
}

void describe(std::string& to, const snapshot::set& set) {
  append(to, "set #%u of task %llu as 0x%08x:", set.id, wide(set.owner.id), set.name);
  for (const snapshot::number each : set.members) append(to, " #%u", each);
  describe_waits(to, set.waiting_receivers, 0, set.knotes);
  to += '\n';
}

}  // namespace

snapshot take_snapshot() {
  const std::vector<std::uint64_t> all = fetch();
  snapshot made;
  for (words_of from(all); from.more();) {
    record_kind kind{};
    from >> kind;
    switch (kind) {
      case record_kind::task:
        from >> made.spaces.emplace_back().owner;
        break;
      case record_kind::right: {
        snapshot::right& right = made.spaces.back().rights.emplace_back();
        from >> right.name >> right.type >> right.references >> right.of >> right.notify;
        break;
      }
      case record_kind::port:
        made.ports.push_back(read_port(from));
        break;
      case record_kind::message: {
        snapshot::message& message = made.ports.back().queue.emplace_back();
        from >> message.id >> message.size;
        break;
      }
      case record_kind::set: {
        snapshot::set& set = made.sets.emplace_back();
        from >> set.id >> set.owner >> set.name >> set.waiting_receivers >> set.knotes;
        break;
      }
      case record_kind::member:
        from >> made.sets.back().members.emplace_back();
        break;
    }
  }
  return made;
}

std::string to_string(const snapshot& of, port_purpose purpose) {
  std::string text;
  for (const snapshot::space& each : of.spaces) {
    append(text, "task %llu\n", wide(each.owner.id));
    for (const snapshot::right& right : each.rights) describe(text, right);
  }
  for (const snapshot::port& each : of.ports) describe(text, each, purpose);
  for (const snapshot::set& each : of.sets) describe(text, each);
  return text;
}

std::string to_string(const std::vector<leak>& leaks) {
  std::string text;
  for (const leak& each : leaks) {
    append(text, "task %llu", wide(each.owner.id));
    if (each.references_before != 0) append(text, ", had x%u", each.references_before);
    text += ':';
    // The number of a port means nothing without its snapshot.
    snapshot::right alone = each.right;
    alone.of = alone.notify = 0;
    describe(text, alone);
  }
  return text;
}

}  // namespace kedge::mach::kernel
