// Implements world, which is world_state for the test.
#include "kedge/tools/harness/world.h"

#include <stdexcept>
#include <utility>

#include "kedge/tools/harness/world_state.h"

namespace kedge::harness {

namespace {

// may_kill() chooses among so many calls.
constexpr std::size_t calls_of_a_kill = 32;

}  // namespace

world::world(std::uint64_t seed) : state_(std::make_unique<world_state>(*this, seed)) {}

world::~world() = default;

process& world::start_process(std::string name, std::function<int(int, char**)> main,
                              process_options options) {
  return state_->start(std::move(name), std::move(main), std::move(options)).handle;
}

process& world::operator[](std::string_view name) const {
  running_process* const found = state_->find(name);
  if (found == nullptr) {
    throw std::out_of_range("kedge::harness: there is no process \"" + std::string(name) + "\"");
  }
  return found->handle;
}

bool world::step() {
  return state_->step();
}

void world::until(const condition& c) {
  state_->until(c);
}

void world::run() {
  state_->run();
  state_->check_rest();
}

void world::run_to_rest() {
  state_->run();
}

void world::calm() {
  state_->is_calm = true;
  run();
}

void world::advance(std::chrono::nanoseconds length) {
  if (length < std::chrono::nanoseconds::zero()) {
    throw std::invalid_argument("kedge::harness: the time does not go back");
  }
  state_->advance(static_cast<std::uint64_t>(length.count()));
}

void world::finish() {
  calm();
  state_->check_plans();
  state_->check_guards();
  state_->check_leaks();
}

void world::may_kill(process& p) {
  p.of_.demand_life("killed");
  const std::size_t chosen = state_->choose("kill before call", calls_of_a_kill + 1);
  if (chosen != 0) p.of_.killed_before = p.calls() + static_cast<std::uint32_t>(chosen);
}

void world::may_fail(process& p, fault_set which) {
  p.of_.demand_life("failed");
  if (which.is_empty()) throw std::invalid_argument("kedge::harness: may_fail() by no fault");
  for (const auto& [name, fault] : fault_menu()) {
    const fault_set allowed = fault & which;
    if (allowed.is_empty()) continue;
    if (state_->choose(name, 2) == 1) p.of_.faults = p.of_.faults | allowed;
  }
  state_->may_disturb |= p.of_.faults.has(faults::slow | faults::suspended | faults::early_timeout);
}

void world::fail(process& p, fault_set which, std::uint32_t call) {
  p.of_.demand_life("failed");
  if (which.points() == 0) {
    throw std::invalid_argument("kedge::harness: " + to_string(which) +
                                " is not a fault of a call, and cannot happen in one");
  }
  if (call <= p.calls()) {
    throw std::logic_error("kedge::harness: \"" + p.name() + "\" has made call " +
                           std::to_string(call) + " already, which is to fail");
  }
  p.of_.planned.push_back({which, call});
}

std::size_t world::choose(std::string_view what, std::size_t count) {
  return state_->choose(what, count);
}

std::int64_t world::pick(std::int64_t least, std::int64_t most) {
  if (most < least) throw std::invalid_argument("kedge::harness: pick() from an empty range");
  const auto count = static_cast<std::size_t>(most - least) + 1;
  return least + static_cast<std::int64_t>(state_->choose("pick", count));
}

void world::sometimes(std::string_view what, bool seen, std::source_location at) {
  state_->note_sometimes(what, seen, at);
}

void world::limit_steps(std::uint64_t most) {
  if (most == 0) throw std::invalid_argument("kedge::harness: a run needs at least one step");
  state_->most_steps = most;
}

void world::expect(const condition& c) {
  if (!c.holds()) state_->fail("NOT SO: " + to_string(c));
}

void world::name(message_id id, std::string text) {
  state_->message_names[id.value] = std::move(text);
}

std::uint64_t world::seed() const noexcept {
  return state_->seed;
}

std::uint64_t world::steps() const noexcept {
  return state_->steps;
}

std::chrono::nanoseconds world::time() const noexcept {
  return std::chrono::nanoseconds(state_->time - world_state::first_time);
}

const event_log& world::events() const noexcept {
  return state_->log;
}

std::string world::story() const {
  return state_->story();
}

std::uint64_t world::fingerprint() const noexcept {
  return state_->fingerprint;
}

std::string world::report(std::string_view what) const {
  return state_->report(what);
}

}  // namespace kedge::harness
