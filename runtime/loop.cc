// loop: drives until the root has ended, throws failures of spawned tasks, prints the tree.
#include "kedge/runtime/loop.h"

#include <algorithm>
#include <ostream>
#include <stdexcept>
#include <string>

namespace kedge {

loop::loop() : tasks(*this) {}

loop::loop(time_source& time) : reactor(&time), tasks(*this) {}

loop::~loop() {
  if (left_alone()) return;
  const ending scope(*this);
  tasks.destroy_children();
  tasks.~root_scope();
  is_over_ = true;
  destroy_attachments();
}

// If a spawned task fails, the loop is driven until all have ended.
void loop::drive_root() {
  const auto drive_by = [this](auto turn) {
    while (!root_->is_done()) turn();
    while (tasks.any_failed() && tasks.size() != 0) turn();
  };
  time_source* const time = follows();
  if (time == nullptr || !time->jumps_) [[likely]] {
    drive_by([this] { turn(clock::duration::max()); });
  } else {
    drive_by([this, time] {
      if (turn_in_virtual_time(true) || time->idle(*this)) return;
      turn(clock::duration::max());
    });
  }
}

bool loop::poll_in_virtual_time(bool asks_kernel) {
  const bool ran = drive([&] { return turn_in_virtual_time(asks_kernel); });
  throw_failure_if_over();
  return ran;
}

bool loop::run_once(clock::duration max_wait) {
  const bool ran = reactor::run_once(max_wait);
  throw_failure_if_over();
  return ran;
}

void loop::throw_failure_if_over() {
  if (!tasks.any_failed() || tasks.size() != 0) return;
  const hooked scope(*this);
  note_failures(nullptr);
}

bool loop::step() {
  const bool ran = single_step();
  throw_failure_if_over();
  return ran;
}

void loop::require_living() const {
  if (is_over_) throw std::logic_error("kedge: spawn() into a loop that is being destroyed");
}

void loop::note_failures(const std::exception_ptr& of_root) {
  tasks.copy_failures(failures_, of_root);
  if (!tasks.any_failed()) return;
  const std::exception_ptr first = tasks.first_failure();
  tasks.reset();
  std::rethrow_exception(first);
}

void loop::cancel() noexcept {
  const hooked scope(*this);
  tasks.cancel_present_children(cancel_cause::requested);
}

namespace {

// Prints contexts, one a line, and below each its coroutines.
class printer {
 public:
  explicit printer(std::ostream& out) noexcept : out_(out) {}

  void print(const context& c) {
    begin_line();
    if (c.holder() == nullptr) {
      out_ << "a scope whose body is being made\n";
      return;
    }
    const char* const kind = c.holder()->owner().branch_name();
    if (c.place().line() == 0) {
      out_ << "branch of " << kind;
      print_name(c.name());
    } else {
      print_origin(kind, c.name(), c.place());
    }
    if (c.cancelled()) out_ << " (cancelled: " << to_string(c.cause()) << ')';
    const waiter* const w = c.suspended_on();
    if (w != nullptr) {
      print_wait(*w);
    } else {
      out_ << (c.holder()->ended() == outcome::none ? ": running\n" : ": has ended\n");
    }
    ++depth;
    print_leaves(c.holder()->owner());
    --depth;
  }
  // Prints the children of a scope that have no context, of the body's owner.
  template <class Scope>
  void print_leaves(const Scope& s) {
    for (const waiter* leaf = s.next_leaf(nullptr); leaf != nullptr; leaf = s.next_leaf(leaf)) {
      begin_line();
      const auto& b = *static_cast<const branch_base*>(leaf);
      print_origin("child", b.given_name(), b.owner().place());
      print_wait(*leaf);
    }
  }

  std::size_t depth = 0;

 private:
  // Below the 32nd level a number stands for the indentation, which would grow with the square of
  // the depth.
  void begin_line() {
    constexpr std::size_t deepest = 32;
    out_ << std::string(2 * std::min(depth, deepest), ' ');
    if (depth > deepest) out_ << '[' << depth << "] ";
  }

  void print_name(const char* name) {
    if (name != nullptr) out_ << " \"" << name << '"';
  }
  void print_origin(const char* kind, const char* name, const std::source_location& place) {
    description origin;
    print_place(origin, place);
    out_ << kind;
    print_name(name);
    out_ << " from " << origin.text();
  }

  // The innermost wait, then the waits of the coroutines around it.
  void print_wait(const waiter& innermost) {
    out_ << (innermost.is_withdrawn() ? ": cancelled in its wait for "
             : innermost.queued()     ? ": ready, after "
                                      : ": waits for ");
    description what;
    innermost.describe(what);
    out_ << what.text() << '\n';
    const frame* f = innermost.awaiting_frame();
    for (; f != nullptr; f = f->continuation().awaiting_frame()) {
      if (f->continuation().awaiting_frame() == nullptr) break;
      description outer;
      f->continuation().describe(outer);
      begin_line();
      out_ << "  in " << outer.text() << '\n';
    }
  }

  std::ostream& out_;
};

const context* oldest_below(const context& c) noexcept {
  const context* oldest = c.first_child();
  while (oldest != nullptr && oldest->next_sibling() != nullptr) oldest = oldest->next_sibling();
  return oldest;
}

}  // namespace

// The tree in pre-order, older contexts first.
void loop::dump(std::ostream& out) {
  printer p(out);
  const context& top = tasks.own_context();
  const context* c = oldest_below(top);
  while (c != nullptr) {
    p.print(*c);
    const context* next = oldest_below(*c);
    if (next != nullptr) ++p.depth;
    while (next == nullptr && c != &top) {
      next = c->previous_sibling();
      if (next == nullptr) {
        c = c->parent();
        --p.depth;
      }
    }
    c = next;
  }
  p.depth = 0;
  p.print_leaves(tasks);
}

}  // namespace kedge
