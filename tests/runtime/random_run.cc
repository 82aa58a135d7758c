// random_run: runs a random program, and holds the run against rules.
#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "kedge/runtime/async_generator.h"
#include "kedge/runtime/attempt.h"
#include "kedge/runtime/channel.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/mutex.h"
#include "kedge/runtime/select.h"
#include "kedge/runtime/semaphore.h"
#include "kedge/runtime/shield.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_cleanup.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_timeout.h"
#include "kedge/runtime/yield.h"
#include "random_program.h"

namespace kedge {
namespace {

using kind = program_step::kind;
using block = program_step::block;
using std::chrono::microseconds;

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

// Channels, and which of their items have been sent and received. An item is a number of its own.
class exchange {
 public:
  static constexpr std::size_t channels = 3;

  // Lives as long as a send.
  class sending {
   public:
    explicit sending(exchange& e) : in_(e), item_(e.add()) {}
    sending(const sending&) = delete;
    sending& operator=(const sending&) = delete;
    ~sending() {
      if (in_.items_[item_].sent != fate::yes) in_.items_[item_].sent = fate::destroyed;
    }
    std::size_t item() const noexcept { return item_; }
    void finish() noexcept { in_.items_[item_].sent = fate::yes; }

   private:
    exchange& in_;
    std::size_t item_;
  };

  channel<std::size_t>& at(unsigned number) noexcept { return channels_[number % channels]; }

  void receive(std::size_t item) {
    if (item >= items_.size() || items_[item].received) is_broken_ = true;
    if (item < items_.size()) items_[item].received = true;
  }
  // Does what may wake a task that waits: takes all items, or sends one to each channel.
  void feed() {
    for (channel<std::size_t>& c : channels_) {
      bool was_full = false;
      while (const auto item = c.try_receive()) {
        receive(*item);
        was_full = true;
      }
      if (was_full) continue;
      const std::size_t item = add();
      items_[item].sent = c.try_send(item) ? fate::yes : fate::destroyed;
    }
  }
  // Every item that was sent was received once, and no other was. Where tasks were destroyed in
  // their waits, a send that had not returned may have sent its item.
  bool is_balanced(bool tasks_were_destroyed) {
    for (channel<std::size_t>& c : channels_) {
      while (const auto item = c.try_receive()) receive(*item);
    }
    for (const state& item : items_) {
      if (item.sent == fate::pending) return false;
      if (item.received == (item.sent == fate::yes)) continue;
      if (!item.received || !tasks_were_destroyed) return false;
    }
    return !is_broken_;
  }

 private:
  enum class fate : unsigned char { pending, yes, destroyed };
  struct state {
    fate sent = fate::pending;
    bool received = false;
  };

  std::size_t add() {
    items_.emplace_back();
    return items_.size() - 1;
  }

  std::array<channel<std::size_t>, channels> channels_{
      channel<std::size_t>(0), channel<std::size_t>(1), channel<std::size_t>(3)};
  std::vector<state> items_;
  bool is_broken_ = false;
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
  bool holds = false;       // the mutex, or permits of the semaphore
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
    if (!exchange_.is_balanced(dropped_)) break_rule("an item is lost, or there twice", 0);
    if (mutex_.is_locked()) break_rule("the mutex stays locked", 0);
    if (semaphore_.available() != most) break_rule("the semaphore has not all permits", 0);
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
    unsigned fed = 0;  // since something has run
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
      if (ran) {
        fed = 0;
        continue;
      }
      if (const auto next = l.next_deadline()) {
        time.advance(*next - l.now());
      } else if (permits_.is_awaited()) {
        permits_.give();
      } else if (++fed <= 2) {
        exchange_.feed();
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

  static bool holds_something(const construct& c) {
    for (const construct* at = &c; at != nullptr; at = at->outer) {
      if (at->holds) return true;
    }
    return false;
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

  struct doom_check {
    doom_check(runner& r, const construct& c, int block_id)
        : in(r), doomed(is_doomed(c)), id(block_id) {}
    void run() const {
      if (doomed) in.break_rule("a wait that began in a cancelled block has returned", id);
    }
    runner& in;
    bool doomed;
    int id;
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
  task<awaited_t<Wait>> wait(Wait w, construct& around, int id) {
    const doom_check check(*this, around, id);
    if constexpr (std::is_void_v<awaited_t<Wait>>) {
      co_await std::move(w);
      check.run();
    } else {
      auto value = co_await std::move(w);
      check.run();
      co_return value;
    }
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
      case kind::send:
        co_await send(s, around, id);
        break;
      case kind::receive:
        co_await receive(s, around, id);
        break;
      case kind::select:
        co_await receive_either(s, around, id);
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
      case kind::lock:
        co_await run_locked(s, around, id);
        break;
      case kind::acquire:
        co_await run_with_permits(s, around, id);
        break;
      case kind::generate:
        co_await run_generator(s, around);
        break;
      case kind::cleanup:
        co_await run_cleanup(s, around);
        break;
      case kind::at_exit_give:
      case kind::at_exit_cancel:
      case kind::at_exit_spawn:
        guards.push_back(std::make_unique<at_exit>(*this, around, s));
        break;
    }
  }

  task<> send(const program_step& s, construct& around, int id) {
    exchange::sending item(exchange_);
    const auto sent = co_await wait(exchange_.at(s.amount).send(item.item()), around, id);
    if (!sent) break_rule("an open channel refused an item", id);
    item.finish();
    note(9, id);
  }
  void take_item(const result<std::size_t>& item, int id) {
    if (!item) return break_rule("an open channel gave no item", id);
    exchange_.receive(*item);
    note(10, static_cast<int>(*item));
  }
  task<> receive(const program_step& s, construct& around, int id) {
    take_item(co_await wait(exchange_.at(s.amount).receive(), around, id), id);
  }
  task<> receive_either(const program_step& s, construct& around, int id) {
    const auto taken =
        co_await wait(select(exchange_.at(s.amount).receive(), exchange_.at(s.amount + 1).receive(),
                             sleep_for(microseconds(50 * s.amount))),
                      around, id);
    if (const auto* const first = std::get_if<0>(&taken)) take_item(*first, id);
    if (const auto* const second = std::get_if<1>(&taken)) take_item(*second, id);
    note(11, static_cast<int>(taken.index()));
  }

  // Counts what is held of something that is bounded.
  struct holding {
    holding(runner& r, std::size_t& count, std::size_t n, std::size_t bound)
        : held(count), number(n) {
      held += number;
      if (held > bound) r.break_rule("more is held than there is", static_cast<int>(held));
    }
    holding(const holding&) = delete;
    holding& operator=(const holding&) = delete;
    ~holding() { held -= number; }
    std::size_t& held;
    std::size_t number;
  };
  // What holds something waits for nothing else that tasks hold: else the program could deadlock.
  task<> run_locked(const program_step& s, construct& around, int id) {
    if (holds_something(around)) co_return;
    construct c = inside(around);
    c.holds = true;
    const auto guard = (co_await wait(mutex_.lock(), around, id)).value();
    const holding one(*this, locked_, 1, 1);
    co_await run_block(s.parts[0], c);
  }
  task<> run_with_permits(const program_step& s, construct& around, int id) {
    if (holds_something(around)) co_return;
    construct c = inside(around);
    c.holds = true;
    const std::size_t n = 1 + s.amount;
    const auto guard = (co_await wait(semaphore_.acquire(n), around, id)).value();
    const holding some(*this, acquired_, n, most);
    co_await run_block(s.parts[0], c);
  }

  async_generator<int> generate(const program_step& s, construct& c) {
    for (const block& part : s.parts) {
      const int id = co_await run_block(part, c);
      co_yield id;
    }
  }
  // Takes all values, or the first one only, or waits for each for 100 us at most.
  task<> run_generator(const program_step& s, construct& around) {
    construct c = inside(around);
    c.may_end = s.amount == 2;
    std::optional<int> thrown;
    std::size_t values = 0;
    bool timed_out = false;
    async_generator<int> all = generate(s, c);
    try {
      for (std::optional<int> value; !timed_out; ++values) {
        if (s.amount == 2) {
          auto next = co_await with_timeout(microseconds(100), all.next());
          timed_out = !next;
          if (next) value = *next;
        } else {
          value = co_await all.next();
        }
        if (timed_out || !value || s.amount == 1) break;
      }
    } catch (const failure& f) {
      thrown = f.id;
    }
    if (thrown != c.first_failure) break_rule("a generator threw not the first failure", 0);
    if (c.living != 0) break_rule("next() has ended before the generator's block", 0);
    if (s.amount == 1) co_return;
    if (!thrown && !timed_out && values != s.parts.size()) {
      break_rule("a generator gave a wrong number of values", static_cast<int>(values));
    }
    if (co_await all.next()) break_rule("an ended generator gave a value", 0);
  }

  task<> clean_up(const program_step& s, const construct& body, construct& c,
                  const attempted<void>& end) {
    if (body.living != 0) break_rule("a clean-up began before its body had ended", 0);
    if (end.failed() != body.first_failure.has_value()) break_rule("a clean-up hears wrong", 0);
    co_await run_block(s.parts[1], c);
  }
  // Notes that a clean-up never began.
  struct awaiting_cleanup {
    explicit awaiting_cleanup(runner& r) noexcept : in(r) {}
    awaiting_cleanup(const awaiting_cleanup&) = delete;
    awaiting_cleanup& operator=(const awaiting_cleanup&) = delete;
    ~awaiting_cleanup() {
      if (!has_begun && !in.dropped_) in.break_rule("a clean-up has not begun", 0);
    }
    runner& in;
    bool has_begun = false;
  };
  task<> run_cleanup(const program_step& s, construct& around) {
    construct body = inside(around), c = inside(around);
    c.may_end = c.shields = true;
    awaiting_cleanup awaited(*this);
    bool was_cancelled = false;
    const auto cleanup = [&](const attempted<void>& end) {
      awaited.has_begun = true;
      was_cancelled = end.cancelled();
      return clean_up(s, body, c, end);
    };
    std::optional<int> thrown;
    try {
      co_await with_cleanup(run_block(s.parts[0], body), cleanup, microseconds(s.amount));
    } catch (const failure& f) {
      thrown = f.id;
    }
    if (c.living != 0) break_rule("with_cleanup has ended before its clean-up", 0);
    if (was_cancelled && !thrown) break_rule("with_cleanup has hidden a cancellation", 0);
    if (thrown != (body.first_failure ? body.first_failure : c.first_failure)) {
      break_rule("with_cleanup threw not the failure that counts", 0);
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
  static constexpr std::size_t most = 3;
  permits permits_;
  exchange exchange_;
  mutex mutex_;
  semaphore semaphore_{most};
  std::size_t locked_ = 0;    // holders of the mutex
  std::size_t acquired_ = 0;  // permits that blocks hold
  loop* loop_ = nullptr;
  bool dropped_ = false;
  int started_ = 0;
  int living_ = 0;
  int failures_ = 0;
  int spawned_ = 0;
};

}  // namespace

std::string run_program(const program& p, std::vector<int>& trace) {
  return runner(p, trace).run();
}

}  // namespace kedge
