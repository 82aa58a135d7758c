// Implements process and message_query.
#include "kedge/tools/harness/process.h"

#include <mach/notify.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
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

condition process::started_waiting() const {
  const running_process& p = of_;
  return {[&p] { return p.first_wait.has_value(); },
          p.name + " waits",
          {},
          [&p] { return p.is_over() && !p.first_wait; }};
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

message_query process::notified(mach_msg_id_t id) const {
  message_query q = received(id);
  q.is_of_kernel_ = true;
  return q;
}

message_query process::notified_of_death(const process& of) const {
  return notified(MACH_NOTIFY_DEAD_NAME)
      .where([&by = of_, &dead = of.of_](const message_record& m) {
        mach_dead_name_notification_t notification;
        const std::size_t at = sizeof notification.not_header;
        if (m.body.size() < offsetof(mach_dead_name_notification_t, not_port) + 4 - at)
          return false;
        mach_port_name_t name = MACH_PORT_NULL;
        std::memcpy(&name, m.body.data() + offsetof(mach_dead_name_notification_t, not_port) - at,
                    sizeof name);
        const auto found = by.dead_names.find(name);
        return found != by.dead_names.end() && by.of.log.name_of(found->second).maker == dead.index;
      });
}

const std::vector<mach::kernel::guard_exception>& process::guard_exceptions() const {
  of_.of.take_guards(of_);
  of_.guards_are_expected = true;
  return of_.guards;
}

void process::kill() {
  of_.of.kill(of_);
}

void process::suspend() {
  of_.demand_life("suspended");
  of_.of.suspend(of_, true);
}

void process::resume() {
  of_.demand_life("resumed");
  of_.of.suspend(of_, false);
}

void process::stall(std::chrono::nanoseconds length) {
  of_.demand_life("stalled");
  if (length < std::chrono::nanoseconds::zero()) {
    throw std::invalid_argument("kedge::harness: the time does not go back");
  }
  of_.of.stall(of_, static_cast<std::uint64_t>(length.count()));
}

void process::hold() {
  of_.demand_life("held");
  of_.is_held = true;
}

void process::hold(message_id id) {
  of_.demand_life("held");
  of_.held_messages.push_back(id.value);
}

void process::release() {
  of_.demand_life("released");
  of_.is_held = false;
  of_.held_messages.clear();
}

bool process::is_held() const noexcept {
  return of_.of.is_held(of_);
}

std::size_t process::fill(std::uint32_t number, message_id id) {
  of_.demand_life("sent to");
  return of_.of.fill(of_, number, id.value);
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

message_query message_query::with_bytes(std::vector<std::byte> bytes, std::size_t offset) const {
  return where([meant = std::move(bytes), offset](const message_record& m) {
    const std::size_t begin = m.data_at + offset;
    return begin <= m.body.size() && m.body.size() - begin >= meant.size() &&
           std::equal(meant.begin(), meant.end(),
                      m.body.begin() + static_cast<std::ptrdiff_t>(begin));
  });
}

message_query message_query::where(std::function<bool(const message_record&)> is_meant) const {
  message_query q = *this;
  q.conditions_.push_back(std::move(is_meant));
  return q;
}

bool message_query::matches(const message_record& m) const {
  if (m.id != id_ || m.is_lost) return false;
  if (is_of_kernel_ && m.sender != no_process) return false;
  if (sender_ != no_process && m.sender != sender_) return false;
  if (must_be_received_ && m.receiver == no_process) return false;
  if (receiver_ != no_process) {
    // One that nobody has received yet is to whoever has received from its port so far.
    if (m.receiver == no_process) world_->state_->name_ports();
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
          (n == 1 ? std::string() : std::to_string(n) + " times ") + to_string(),
          [q = *this] { return q.instead(); }, [q = *this] { return q.is_hopeless(); }};
}

condition message_query::exactly(std::size_t n) const {
  return {[q = *this, n] { return q.count() == n; },
          "exactly " + std::to_string(n) + " times " + to_string(),
          [q = *this] { return q.instead(); }, [q = *this, n] { return q.count() > n; }};
}

// How many match, and what keeps the others of the id from it.
std::string message_query::instead() const {
  const world_state& w = *world_->state_;
  std::size_t of_id = 0;
  std::string others;
  for (const message_record& m : w.log.messages()) {
    if (m.id != id_ || m.is_lost) continue;
    ++of_id;
    if (matches(m) || of_id > 4) continue;
    others += "\n    " + w.describe(m);
  }
  if (of_id == 0) return "nobody has sent a message " + w.name_of_message(id_);
  std::string text = "there were " + std::to_string(count());
  if (!others.empty()) text += "; other messages of this id:" + others;
  const auto say_end = [&](process_index i) {
    if (i < w.processes.size() && w.processes[i]->is_over()) {
      text += "\n    \"" + w.processes[i]->name + "\" has ended";
    }
  };
  say_end(sender_);
  say_end(receiver_);
  return text;
}

// Who would have to do it has ended.
bool message_query::is_hopeless() const {
  const auto is_over = [&](process_index i) {
    return i < world_->state_->processes.size() && world_->state_->processes[i]->is_over();
  };
  return must_be_received_ ? is_over(receiver_) : is_over(sender_);
}

std::size_t message_query::first_event() const {
  const event_log& log = world_->state_->log;
  const event_kind meant = must_be_received_ ? event_kind::received : event_kind::sent;
  const auto events = log.events();
  const auto at = std::ranges::find_if(
      events, [&](const event& e) { return e.what == meant && matches(log.messages()[e.index]); });
  return static_cast<std::size_t>(at - events.begin());
}

bool message_query::has_happened() const {
  return first_event() != world_->state_->log.events().size();
}

condition before(const message_query& first, const message_query& second) {
  return {[=] { return first.has_happened() && first.first_event() < second.first_event(); },
          first.to_string() + ", before " + second.to_string(),
          [=] {
            if (!first.has_happened()) return first.to_string() + " has not happened";
            return std::string("it was the other way round");
          },
          [=] { return !first.has_happened() && (second.has_happened() || first.is_hopeless()); }};
}

std::string to_string(const condition& c) {
  std::string text = c.text;
  if (c.instead && !c.holds()) text += "\n  " + c.instead();
  return text;
}

std::string message_query::to_string() const {
  const auto name = [&](process_index i) { return world_->state_->processes[i]->name; };
  std::string text = "message " + world_->state_->name_of_message(id_);
  if (is_of_kernel_) text += " from the kernel";
  if (sender_ != no_process) text += " from " + name(sender_);
  if (receiver_ != no_process) text += " to " + name(receiver_);
  if (must_be_received_) text += ", received";
  return text;
}

}  // namespace kedge::harness
