// random_program: how programs are made, run, shrunk and printed.
#include "random_program.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>

#include "kedge/runtime/attempt.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"

namespace kedge {
namespace {

using kind = program_step::kind;
using block = program_step::block;
using std::chrono::microseconds;

// --- Making --------------------------------------------------------------------------------------

class maker {
 public:
  explicit maker(std::uint32_t seed) : random_(seed) {}

  program make() {
    program p;
    p.root = make_block(4);
    p.how = static_cast<program::end>(below(3));
    p.turns = below(30);
    return p;
  }

 private:
  unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }

  block make_block(unsigned depth) {
    block steps;
    for (unsigned left = 1 + below(4); left != 0 && budget_ != 0; --left) {
      --budget_;
      steps.push_back(make_step(depth));
    }
    return steps;
  }

  program_step make_step(unsigned depth) {
    constexpr unsigned leaves = 6;
    constexpr unsigned all = static_cast<unsigned>(kind::at_exit_spawn) + 1;
    unsigned drawn = below(depth == 0 ? leaves : all + 4);
    if (drawn >= all) drawn = static_cast<unsigned>(kind::scope);  // more often
    program_step s(static_cast<kind>(drawn));
    if (s.what == kind::fail && below(4) != 0) s.what = kind::give;
    s.amount = s.what == kind::sleep || s.what == kind::timeout || s.what == kind::deadline
                   ? below(300)
                   : below(3);
    for (unsigned left = parts_of(s.what); left != 0; --left) {
      s.parts.push_back(make_block(depth - 1));
    }
    return s;
  }

  unsigned parts_of(kind k) {
    switch (k) {
      case kind::scope:
        return 1 + below(4);
      case kind::all:
      case kind::any:
        return 2;
      case kind::spawn:
      case kind::timeout:
      case kind::deadline:
      case kind::attempt:
      case kind::shield:
      case kind::call:
      case kind::at_exit_spawn:
        return 1;
      default:
        return 0;
    }
  }

  std::mt19937 random_;
  unsigned budget_ = 60;
};

// --- Running -------------------------------------------------------------------------------------

// A source of permits, which a waiter that does not take its permit gives back.
class permits {
 public:
  class operation {
   public:
    explicit operation(permits& p) noexcept : source_(p) {}
    operation(const operation&) = delete;
    operation& operator=(const operation&) = delete;
    ~operation() {
      leave();
      if (has_one_) {
        ++source_.free_;
        source_.hand_out();
      }
    }
    bool await_ready() noexcept {
      if (source_.free_ == 0 || !source_.waiting_.empty()) return false;
      --source_.free_;
      has_one_ = true;
      return true;
    }
    bool await_suspend(waiter& w) {
      waiter_ = &w;
      source_.waiting_.push_back(this);
      return true;
    }
    bool await_cancel(cancel_cause) noexcept {
      leave();
      return true;
    }
    void await_resume() noexcept {
      has_one_ = false;
      ++source_.taken;
    }
    void describe(description& line) const noexcept { line.print("a permit"); }

   private:
    friend class permits;
    void leave() noexcept { std::erase(source_.waiting_, this); }
    permits& source_;
    waiter* waiter_ = nullptr;
    bool has_one_ = false;
  };
  class awaitable {
   public:
    explicit awaitable(permits& p) noexcept : source_(&p) {}
    operation operator co_await() && noexcept { return operation(*source_); }

   private:
    permits* source_;
  };

  awaitable take() noexcept { return awaitable(*this); }
  void give() noexcept {
    ++given;
    ++free_;
    hand_out();
  }
  bool is_balanced() const noexcept { return waiting_.empty() && given == taken + free_; }
  bool is_awaited() const noexcept { return !waiting_.empty(); }

  long given = 0;
  long taken = 0;

 private:
  void hand_out() noexcept {
    while (free_ != 0 && !waiting_.empty()) {
      operation& first = *waiting_.front();
      waiting_.erase(waiting_.begin());
      --free_;
      first.has_one_ = true;
      wake(*first.waiter_);
    }
  }
  std::vector<operation*> waiting_;
  long free_ = 0;
};

struct failure : std::runtime_error {
  explicit failure(int of) : std::runtime_error("failure"), id(of) {}
  int id;
};

// A construct of the program that runs.
struct construct {
  construct* outer = nullptr;
  scope* opened = nullptr;  // if it is a scope
  bool ending = false;      // it has cancelled what it holds
  bool may_end = false;     // it may cancel what it holds at any time
  bool shields = false;     // a cancellation from further outside does not pass
  int living = 0;           // blocks inside of it
  std::optional<int> first_failure;
};

class runner {
 public:
  runner(const program& p, std::vector<int>& trace) : program_(p), trace_(trace) {}

  std::string run() {
    {
      virtual_time time;
      loop l(time);
      loop_ = &l;
      l.spawn(run_block(program_.root, top_));
      drive(l, time);
      dropped_ = true;  // what is left
    }
    if (living_ != 0) break_rule("a block is left over", living_);
    if (!permits_.is_balanced()) break_rule("a permit is lost", 0);
    return broken_;
  }

 private:
  void note(int what, int id) {
    trace_.push_back(what);
    trace_.push_back(id);
  }
  void break_rule(const char* rule, int id) {
    if (broken_.empty()) broken_ = std::string(rule) + " (" + std::to_string(id) + ")";
  }

  void drive(loop& l, virtual_time& time) {
    for (unsigned turn = 0; l.size() != 0; ++turn) {
      if (turn == program_.turns && program_.how == program::end::dropped) return;
      if (turn == program_.turns && program_.how == program::end::cancelled) {
        top_.ending = true;
        l.cancel();
      }
      bool ran = false;
      try {
        ran = l.poll();
      } catch (const failure& f) {
        if (top_.first_failure != f.id) break_rule("not the first failure was thrown", f.id);
      }
      if (ran) continue;
      if (const auto next = l.next_deadline()) {
        time.advance(*next - l.now());
      } else if (permits_.is_awaited()) {
        permits_.give();
      } else if (l.size() != 0) {
        return break_rule("nothing can wake the rest", static_cast<int>(l.size()));
      }
    }
  }

  // Whether a construct around has cancelled what runs in `c`.
  static bool is_doomed(const construct& c) {
    for (const construct* at = &c; at != nullptr; at = at->outer) {
      if (at->ending) return true;
      if (at->shields) return false;
    }
    return false;
  }
  // Whether a construct around may have done so.
  bool may_be_ended(const construct& c) const {
    for (const construct* at = &c; at != nullptr; at = at->outer) {
      if (at->ending || at->may_end) return true;
      if (at->shields) return dropped_;
    }
    return dropped_;
  }

  static construct inside(construct& around) {
    construct c;
    c.outer = &around;
    return c;
  }
  static construct* scope_around(construct& c, unsigned number) {
    construct* found = nullptr;
    for (construct* at = &c; at != nullptr; at = at->outer) {
      if (at->opened == nullptr) continue;
      found = at;
      if (number-- == 0) break;
    }
    return found;
  }

  // Lives as long as a block runs. Notes how it ends.
  struct running {
    running(runner& r, construct& c, int block_id) : in(r), around(c), id(block_id) {
      ++in.living_;
      for (construct* at = &c; at != nullptr; at = at->outer) ++at->living;
      in.note(1, id);
    }
    running(const running&) = delete;
    running& operator=(const running&) = delete;
    ~running() {
      --in.living_;
      for (construct* at = &around; at != nullptr; at = at->outer) --at->living;
      in.note(finished ? 2 : 3, id);
      if (!finished && !in.may_be_ended(around)) {
        in.break_rule("a block was destroyed without a cancellation", id);
      }
    }
    runner& in;
    construct& around;
    int id;
    bool finished = false;
  };

  struct at_exit {
    at_exit(runner& r, construct& c, const program_step& s) : in(r), around(c), step(s) {}
    at_exit(const at_exit&) = delete;
    at_exit& operator=(const at_exit&) = delete;
    ~at_exit() {
      if (step.what == kind::at_exit_give) in.permits_.give();
      construct* const target = scope_around(around, step.amount);
      if (target == nullptr) return;
      if (step.what == kind::at_exit_cancel) in.cancel(*target);
      if (step.what == kind::at_exit_spawn) in.spawn(*target, step.parts[0]);
    }
    runner& in;
    construct& around;
    const program_step& step;
  };

  void cancel(construct& c) {
    c.ending = true;
    c.opened->cancel();
  }
  void spawn(construct& c, const block& steps) {
    if (spawned_ == 200) return;
    ++spawned_;
    c.opened->spawn(run_block(steps, c));
  }

  task<int> run_block(const block& steps, construct& around) {
    const int id = ++started_;
    running r(*this, around, id);
    std::vector<std::unique_ptr<at_exit>> guards;
    try {
      for (const program_step& s : steps) co_await run_step(s, around, guards, id);
    } catch (const failure& f) {
      r.finished = true;
      note(4, f.id);
      construct& told = around;
      told.ending = true;
      if (!told.first_failure) told.first_failure = f.id;
      throw;
    }
    r.finished = true;
    co_return id;
  }

  // A wait that begins in a doomed block never returns.
  template <class Wait>
  task<> wait(Wait w, construct& around, int id) {
    const bool doomed = is_doomed(around);
    co_await std::move(w);
    if (doomed) break_rule("a wait that began in a cancelled block has returned", id);
  }

  task<> run_step(const program_step& s, construct& around,
                  std::vector<std::unique_ptr<at_exit>>& guards, int id) {
    switch (s.what) {
      case kind::yield:
        co_await wait(yield(), around, id);
        break;
      case kind::sleep:
        co_await wait(sleep_for(microseconds(s.amount)), around, id);
        break;
      case kind::take:
        co_await wait(permits_.take(), around, id);
        break;
      case kind::give:
        permits_.give();
        break;
      case kind::fail:
        throw failure(++failures_);
      case kind::cancel:
        if (construct* const target = scope_around(around, s.amount)) cancel(*target);
        break;
      case kind::spawn:
        if (construct* const target = scope_around(around, s.amount)) spawn(*target, s.parts[0]);
        break;
      case kind::scope:
        co_await run_scope(s, around, id);
        break;
      case kind::timeout:
      case kind::deadline:
        co_await run_timeout(s, around);
        break;
      case kind::all:
        co_await run_all(s, around);
        break;
      case kind::any:
        co_await run_any(s, around);
        break;
      case kind::attempt:
        co_await run_attempt(s, around, id);
        break;
      case kind::shield:
        co_await run_shield(s, around);
        break;
      case kind::call:
        co_await run_block(s.parts[0], around);
        break;
      case kind::at_exit_give:
      case kind::at_exit_cancel:
      case kind::at_exit_spawn:
        guards.push_back(std::make_unique<at_exit>(*this, around, s));
        break;
    }
  }

  task<int> scope_body(const program_step& s, construct& c, scope& opened) {
    c.opened = &opened;
    for (std::size_t i = 1; i < s.parts.size(); ++i) spawn(c, s.parts[i]);
    co_return co_await run_block(s.parts[0], c);
  }

  task<> run_scope(const program_step& s, construct& around, int id) {
    construct c = inside(around);
    const auto body = [this, &s, &c](scope& opened) { return scope_body(s, c, opened); };
    std::optional<int> thrown;
    try {
      co_await with_scope(body);
    } catch (const failure& f) {
      thrown = f.id;
    } catch (const std::system_error& e) {
      if (e.code() != errc::cancelled || !c.ending) break_rule("a scope threw another error", id);
    }
    if (c.living != 0) break_rule("a scope has ended before its children", id);
    if (thrown != c.first_failure) break_rule("a scope threw not the first failure", id);
    if (thrown) note(5, *thrown);
  }

  task<> run_timeout(const program_step& s, construct& around) {
    construct c = inside(around);
    c.may_end = true;
    const bool relative = s.what == kind::timeout;
    const auto limit = microseconds(s.amount);
    const clock::time_point start = loop_->now();
    result<int> ended = unexpected(errc::closed);
    if (relative) {
      ended = co_await with_timeout(limit, run_block(s.parts[0], c));
    } else {
      ended = co_await with_deadline(start + limit, run_block(s.parts[0], c));
    }
    if (!ended && ended.error() != errc::timed_out) break_rule("a time-out gave another error", 0);
    if (!ended && loop_->now() < start + limit) break_rule("a time-out came early", 0);
    if (c.living != 0) break_rule("a time-out has ended before its task", 0);
    note(ended ? 6 : 7, 0);
  }

  task<> run_all(const program_step& s, construct& around) {
    construct c = inside(around);
    std::optional<int> thrown;
    try {
      (void)co_await when_all(run_block(s.parts[0], c), run_block(s.parts[1], c));
    } catch (const failure& f) {
      thrown = f.id;
    }
    if (c.living != 0) break_rule("when_all has ended before its branches", 0);
    if (thrown != c.first_failure) break_rule("when_all threw not the first failure", 0);
  }

  task<int> run_branch(const block& steps, construct& c) {
    const int id = co_await run_block(steps, c);
    c.ending = true;
    co_return id;
  }
  task<> run_any(const program_step& s, construct& around) {
    construct c = inside(around);
    try {
      (void)co_await when_any(run_branch(s.parts[0], c), run_branch(s.parts[1], c));
    } catch (const failure&) {
      if (!c.first_failure) break_rule("when_any threw what no branch had thrown", 0);
    }
    if (c.living != 0) break_rule("when_any has ended before its branches", 0);
  }

  task<> run_attempt(const program_step& s, construct& around, int id) {
    construct c = inside(around);
    const attempted<int> end = co_await attempt(run_block(s.parts[0], c));
    if (c.living != 0) break_rule("attempt has ended before its task", id);
    if (end.cancelled() && !may_be_ended(around)) break_rule("attempt reports a cancellation", id);
    if (end.failed() != c.first_failure.has_value()) break_rule("attempt hides a failure", id);
    note(8, end.has_value() ? 0 : end.failed() ? 1 : 2);
  }

  task<> run_shield(const program_step& s, construct& around) {
    construct c = inside(around);
    c.shields = true;
    try {
      co_await shield(run_block(s.parts[0], c));
    } catch (const failure&) {
    }
    if (c.living != 0) break_rule("shield has ended before its task", 0);
  }

  const program& program_;
  std::vector<int>& trace_;
  std::string broken_;
  construct top_;
  permits permits_;
  loop* loop_ = nullptr;
  bool dropped_ = false;
  int started_ = 0;
  int living_ = 0;
  int failures_ = 0;
  int spawned_ = 0;
};

// --- Shrinking and printing ----------------------------------------------------------------------

void collect(block& b, std::vector<block*>& found) {
  found.push_back(&b);
  for (program_step& s : b) {
    for (block& part : s.parts) collect(part, found);
  }
}

void print(std::string& out, const block& b, int depth) {
  static constexpr const char* names[] = {
      "yield", "sleep",        "take",           "give",         "fail", "cancel",  "spawn",
      "scope", "timeout",      "deadline",       "all",          "any",  "attempt", "shield",
      "call",  "at_exit_give", "at_exit_cancel", "at_exit_spawn"};
  for (const program_step& s : b) {
    out.append(static_cast<std::size_t>(2 * depth), ' ');
    out += names[static_cast<std::size_t>(s.what)];
    out += ' ' + std::to_string(s.amount) + '\n';
    for (const block& part : s.parts) {
      out.append(static_cast<std::size_t>(2 * depth + 1), ' ');
      out += "{\n";
      print(out, part, depth + 1);
      out.append(static_cast<std::size_t>(2 * depth + 1), ' ');
      out += "}\n";
    }
  }
}

}  // namespace

program make_program(std::uint32_t seed) {
  return maker(seed).make();
}

std::string run_program(const program& p, std::vector<int>& trace) {
  return runner(p, trace).run();
}

program shrink(program p, bool (*fails)(const program&)) {
  for (bool smaller = true; smaller;) {
    smaller = false;
    std::vector<block*> blocks;
    collect(p.root, blocks);
    for (std::size_t b = 0; b < blocks.size() && !smaller; ++b) {
      for (std::size_t i = 0; i < blocks[b]->size() && !smaller; ++i) {
        program candidate = p;
        std::vector<block*> copies;
        collect(candidate.root, copies);
        copies[b]->erase(copies[b]->begin() + static_cast<std::ptrdiff_t>(i));
        if (!fails(candidate)) continue;
        p = std::move(candidate);
        smaller = true;
      }
    }
  }
  return p;
}

std::string to_string(const program& p) {
  std::string out = "end " + std::to_string(static_cast<int>(p.how)) + " after " +
                    std::to_string(p.turns) + " turns\n";
  print(out, p.root, 0);
  return out;
}

}  // namespace kedge
