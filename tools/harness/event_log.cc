// Implements event_log.
#include "kedge/tools/harness/event_log.h"

#include <algorithm>
#include <utility>

namespace kedge::harness {

void event_log::add_sent(message_record&& m) {
  const auto index = static_cast<std::uint32_t>(messages_.size());
  std::deque<std::uint32_t>& queue = queued_[m.port];
  m.depth = static_cast<std::uint32_t>(queue.size());
  events_.push_back({.what = event_kind::sent,
                     .of = m.sender,
                     .step = m.sent_at,
                     .call = m.sender_call,
                     .index = index,
                     .cause = m.cause});
  queue.push_back(index);
  messages_.push_back(std::move(m));
}

message_record& event_log::add_received(std::uint64_t port, mach_msg_id_t id,
                                        const event& receiving) {
  std::deque<std::uint32_t>& queue = queued_[port];
  const auto at =
      std::ranges::find_if(queue, [&](std::uint32_t each) { return messages_[each].id == id; });
  std::uint32_t index = 0;
  if (at != queue.end()) {
    index = *at;
    queue.erase(at);
  } else {
    index = static_cast<std::uint32_t>(messages_.size());
    message_record& made = messages_.emplace_back();
    made.id = id;
    made.port = port;
    made.sent_at = receiving.step;
  }
  message_record& found = messages_[index];
  found.receiver = receiving.of;
  found.received_at = receiving.step;
  found.receiver_call = receiving.call;
  events_.push_back(receiving);
  events_.back().index = index;
  return found;
}

void event_log::add_not_sent(message_record&& m, mach_msg_return_t code) {
  events_.push_back({.what = event_kind::not_sent,
                     .of = m.sender,
                     .step = m.sent_at,
                     .call = m.sender_call,
                     .index = static_cast<std::uint32_t>(messages_.size()),
                     .code = code,
                     .cause = m.cause});
  m.is_lost = true;
  messages_.push_back(std::move(m));
}

void event_log::name_port(std::uint64_t port, process_index receiver) {
  if (port == 0) return;
  port_name& name = names_[port];
  if (name.maker != no_process) return;
  if (ports_made_.size() <= receiver) ports_made_.resize(receiver + 1);
  name = {receiver, ++ports_made_[receiver]};
  std::erase(unnamed_, port);
}

void event_log::see_port(std::uint64_t port) {
  if (port != 0 && names_.try_emplace(port).second) unnamed_.push_back(port);
}

std::uint32_t event_log::add_note(std::string text) {
  notes_.push_back(std::move(text));
  return static_cast<std::uint32_t>(notes_.size() - 1);
}

event_log::port_name event_log::name_of(std::uint64_t port) const noexcept {
  const auto found = names_.find(port);
  return found != names_.end() ? found->second : port_name{};
}

}  // namespace kedge::harness
