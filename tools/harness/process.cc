// Implements process and message_query.
#include "kedge/tools/harness/process.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "kedge/tools/harness/world.h"
#include "kedge/tools/harness/world_state.h"

namespace kedge::harness {

const std::string& process::name() const noexcept {
  return of_.name;
}

int process::status() const {
  if (!of_.is_over()) {
    throw std::logic_error("kedge::harness: \"" + of_.name + "\" has not ended: it has no status");
  }
  return of_.status;
}

bool process::has_ended() const noexcept {
  return of_.is_over();
}

bool process::was_killed() const noexcept {
  return of_.now == running_process::state::killed;
}

std::uint32_t process::calls() const noexcept {
  return of_.calls;
}

message_query process::sent(message_id id) const {
  message_query q(of_.of.facade(), id.value);
  q.sender_ = of_.index;
  return q;
}

message_query process::received(message_id id) const {
  message_query q(of_.of.facade(), id.value);
  q.receiver_ = of_.index;
  q.must_be_received_ = true;
  return q;
}

std::size_t process::queue_seen() const {
  return of_.deepest_queue;
}

void process::kill() {
  of_.of.kill(of_);
}

void process::suspend() {
  if (of_.is_over()) {
    throw std::logic_error("kedge::harness: \"" + of_.name +
                           "\" has ended, and cannot be suspended");
  }
  of_.of.suspend(of_, true);
}

void process::resume() {
  if (of_.is_over()) {
    throw std::logic_error("kedge::harness: \"" + of_.name + "\" has ended, and cannot be resumed");
  }
  of_.of.suspend(of_, false);
}

// --- message_query -------------------------------------------------------------------------------

message_query message_query::from(const process& p) const {
  message_query q = *this;
  q.sender_ = p.of_.index;
  return q;
}

message_query message_query::to(const process& p) const {
  message_query q = *this;
  q.receiver_ = p.of_.index;
  return q;
}

message_query message_query::with(mach_msg_type_name_t kind) const {
  message_query q = *this;
  q.kind_ = kind;
  return q;
}

message_query message_query::where(std::function<bool(const message_record&)> is_meant) const {
  message_query q = *this;
  q.conditions_.push_back(std::move(is_meant));
  return q;
}

bool message_query::matches(const message_record& m) const {
  if (m.id != id_ || m.is_lost) return false;
  if (sender_ != no_process && m.sender != sender_) return false;
  if (must_be_received_ && m.receiver == no_process) return false;
  if (receiver_ != no_process) {
    // One that nobody has received yet is to whoever has received from its port so far.
    const process_index to =
        m.receiver != no_process ? m.receiver : world_->state_->log.name_of(m.port).maker;
    if (to != receiver_) return false;
  }
  const auto is_kind = [&](const carried_right& r) { return !r.is_reply && r.kind == kind_; };
  if (kind_ != 0 && std::ranges::none_of(m.rights, is_kind)) return false;
  return std::ranges::all_of(conditions_, [&](const auto& meant) { return meant(m); });
}

std::size_t message_query::count() const {
  const auto messages = world_->state_->log.messages();
  return static_cast<std::size_t>(
      std::ranges::count_if(messages, [&](const message_record& m) { return matches(m); }));
}

const message_record* message_query::first() const {
  const auto messages = world_->state_->log.messages();
  const auto at =
      std::ranges::find_if(messages, [&](const message_record& m) { return matches(m); });
  return at != messages.end() ? &*at : nullptr;
}

condition message_query::at_least(std::size_t n) const {
  return {[q = *this, n] { return q.count() >= n; },
          (n == 1 ? std::string() : std::to_string(n) + " times ") + to_string()};
}

std::string message_query::to_string() const {
  const auto name = [&](process_index i) { return world_->state_->processes[i]->name; };
  std::string text = "message " + std::to_string(id_);
  if (sender_ != no_process) text += " from " + name(sender_);
  if (receiver_ != no_process) text += " to " + name(receiver_);
  if (must_be_received_) text += ", received";
  return text;
}

}  // namespace kedge::harness
