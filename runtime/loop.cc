// loop: drives until the root has ended, throws failures of spawned tasks, prints the tree.
#include "kedge/runtime/loop.h"

#include <ostream>
#include <stdexcept>

namespace kedge {

loop::loop() : tasks(*this) {}

loop::loop(time_source& time) : reactor(&time), tasks(*this) {}

loop::~loop() {
  if (left_alone()) return;
  const ending scope(*this);
  tasks.~root_scope();
  destroy_attachments();
}

void loop::root::drive(context& c) {
  loop_.running_ = &c;
  // Runs also when a turn throws, since c is destroyed then.
  struct forget {
    loop& l;
    ~forget() { l.running_ = nullptr; }
  } const at_end{loop_};
  while (!done_) {
    loop_.turn(clock::duration::max());
    if (!loop_.tasks.failures().empty()) c.cancel(cancel_cause::failure);
  }
  const bool failed = !loop_.tasks.failures().empty();
  while (failed && loop_.tasks.size() != 0) loop_.turn(clock::duration::max());
  loop_.submit_changes();
  loop_.submit_for_host();
  if (failed) loop_.throw_failure();
  if (loop_.tasks.size() == 0) loop_.tasks.reset();
}

bool loop::run_once(clock::duration max_wait) {
  const bool ran = reactor::run_once(max_wait);
  if (!tasks.failures().empty() && tasks.size() == 0) throw_failure();
  return ran;
}

void loop::throw_failure() {
  const std::exception_ptr first = tasks.failures().front();
  tasks.reset();
  std::rethrow_exception(first);
}

void loop::cancel() noexcept {
  const hooked scope(*this);
  if (running_ != nullptr) running_->cancel(cancel_cause::requested);
  if (running_ != nullptr || tasks.size() != 0) tasks.cancel();
}

namespace {

void dump_context(std::ostream& out, const context& c, int depth) {
  description line;
  print_place(line, c.place());
  out << std::string(static_cast<std::size_t>(depth) * 2, ' ') << c.name() << " from "
      << line.text();
  const waiter* const at = c.suspended_on();
  if (at == nullptr) {
    out << ": running\n";
    return;
  }
  description what;
  at->describe(what);
  out << (at->queued() ? ": ready, after " : ": waits for ") << what.text() << '\n';
  for (const context* b = at->next_branch(nullptr); b != nullptr; b = at->next_branch(b)) {
    dump_context(out, *b, depth + 1);
  }
}

}  // namespace

void loop::dump(std::ostream& out) {
  if (running_ != nullptr) dump_context(out, *running_, 0);
  for (const context* c = tasks.next_standing(nullptr); c != nullptr; c = tasks.next_standing(c)) {
    dump_context(out, *c, 0);
  }
}

}  // namespace kedge
