// branch<Op>: an operation that runs beside others.
//
// Combinators, scopes and the loop hold their operations as branches. A branch reports its end
// once, to its branch_owner. Destroying a branch destroys its operation in any state.
//
// A branch that runs a coroutine or a composite has a context of its own: what it starts below
// itself is cancelled with it, even if it has not started yet. Every other branch runs in the
// context of the combinator that holds it, which withdraws it.
//
// Threads: the loop's thread only.
#pragma once

#include <coroutine>
#include <utility>

#include "kedge/runtime/awaiting/awaiting.h"

namespace kedge {

// The holder of branches.
class branch_owner {
 public:
  // `b` has ended. Called from a source, from b.cancel(), or at the end of b's own coroutine: the
  // implementation must not destroy `b` and must not resume a coroutine. Returns the waiter whose
  // wait this ends, or null.
  virtual waiter* branch_done(branch_base& b) noexcept = 0;

  // What its branches are called in a dump.
  virtual const char* branch_name() const noexcept = 0;

  // For a dump of a scope's body: returns the child after `previous` (null: the first one) that has
  // no context, or null.
  virtual const waiter* next_leaf(const waiter* previous) const noexcept {
    static_cast<void>(previous);
    return nullptr;
  }
  // The deadline of its branches; max() if it sets none.
  virtual clock::time_point deadline() const noexcept { return clock::time_point::max(); }

  // For a dump: where a child without a context was spawned.
  virtual std::source_location place() const noexcept { return {}; }

 protected:
  branch_owner() = default;
  ~branch_owner() = default;
};

class branch_base : public waiter {
 public:
  outcome ended() const noexcept { return outcome_; }
  branch_owner& owner() const noexcept { return *owner_; }

  // Returns the exception with which a failed branch has ended.
  virtual std::exception_ptr failure() noexcept = 0;

  // The name that named() has given what the branch runs, or null. Null while it is destroyed.
  virtual const char* given_name() const noexcept { return nullptr; }

  // The chain that this branch runs was cancelled and has been destroyed. Returns the coroutine to
  // run next.
  virtual std::coroutine_handle<> chain_destroyed() noexcept = 0;

 protected:
  static constexpr bool is_coroutine = false;

  branch_base(branch_owner& owner, context* own) noexcept : waiter(own, nullptr), owner_(&owner) {}
  ~branch_base() = default;

  // Reports `outcome_`. Returns the coroutine to run next, if this is the branch's turn.
  std::coroutine_handle<> report() noexcept {
    if (waiter* const w = owner_->branch_done(*this)) wake(*w);
    return std::noop_coroutine();
  }

 private:
  branch_owner* owner_;
};

// A branch in the context of the combinator that holds it. It runs no chain of its own.
class inner_branch : public branch_base {
 protected:
  static constexpr bool has_chain = false;

  inner_branch(branch_owner& owner, bool) noexcept : branch_base(owner, nullptr) {}
  ~inner_branch() = default;

  void enter_context(context& parent) noexcept { bind_to(parent); }
  void on_suspend() noexcept {}
  void on_resume() noexcept {}
  void on_withdrawn() noexcept { on_end(outcome::cancelled); }
  std::coroutine_handle<> on_end(outcome o) noexcept {
    outcome_ = o;
    return report();
  }
};

// A branch that runs the chain of a context.
class chain_branch : public branch_base {
 protected:
  static constexpr bool has_chain = true;

  using branch_base::branch_base;

  ~chain_branch() = default;

  void on_suspend() noexcept { owner_context().suspend_on(*this); }
  void on_resume() noexcept { owner_context().run(); }
  void on_withdrawn() noexcept {
    withdrawn_ = true;
    wake(*this);
  }
};

// A branch with a context of its own.
class outer_branch : public chain_branch, public context {
 public:
  // Enters the tree below `parent`, but no cancellation from above reaches the branch.
  void enter_shielded_context(context& parent) noexcept {
    enter_shielded(parent);
    tell(happening::spawned, *this);
  }

 protected:
  outer_branch(branch_owner& owner, bool) noexcept
      : chain_branch(owner, static_cast<context*>(this)),
        context(static_cast<branch_base*>(this)) {}
  ~outer_branch() = default;

  void enter_context(context& parent) noexcept {
    enter(parent);
    tell(happening::spawned, *this);
  }
  std::coroutine_handle<> on_end(outcome o) noexcept {
    outcome_ = o;
    run();
    tell(happening::ended, *this);
    leave();
    return report();
  }
};

// The branch that runs in the context of a scope: its body.
class body_branch : public chain_branch {
 protected:
  body_branch(branch_owner& owner, bool) noexcept : chain_branch(owner, nullptr) {}
  ~body_branch() = default;

  void enter_context(context& of_scope) noexcept {
    bind_to(of_scope);
    of_scope.set_holder(*this);
  }
  std::coroutine_handle<> on_end(outcome o) noexcept {
    outcome_ = o;
    owner_context().run();
    return report();
  }
};

template <class Op>
inline constexpr bool needs_context = kind_of<Op> != operation_kind::wait;

template <operation Op,
          class Kind = std::conditional_t<needs_context<Op>, outer_branch, inner_branch>>
class branch final : public operation_waiter<Op, Kind> {
  using base = operation_waiter<Op, Kind>;

 public:
  template <class A>
  branch(A&& a, branch_owner& owner) : base(std::forward<A>(a), owner) {}
  branch(const branch&) = delete;
  branch& operator=(const branch&) = delete;
  ~branch() { this->unlink(); }

  // Starts the branch below `parent`: a coroutine at its first turn, all else at once. May report
  // the end before it returns. A wait does so below a cancelled context, and starts nothing.
  void start(context& parent) noexcept {
    this->enter_context(parent);
    start_entered();
  }
  // The same, for a branch whose context has been entered.
  void start_entered() noexcept {
    if constexpr (base::enters_coroutine) {
      this->defer();
    } else if (this->is_refused()) {
      this->on_end(outcome::cancelled);
    } else if (!this->begin()) {
      this->on_end(this->how_it_ended());
    }
  }

  // The same, but starts when it is woken. Until then it is in a queue, so that a cancellation
  // waits for its turn.
  void start_when_woken(context& parent) noexcept {
    this->enter_context(parent);
    this->deferred_ = true;
    this->on_suspend();
  }

  // Starts the branch below `parent`, but returns the coroutine to run next, or null if the branch
  // has ended.
  std::coroutine_handle<> start_directly(context& parent) noexcept {
    this->enter_context(parent);
    return start_entered_directly();
  }
  std::coroutine_handle<> start_entered_directly() noexcept {
    if constexpr (base::enters_coroutine) {
      if (!this->owner_context().in_reactor().spend_budget()) {
        this->defer();
        return std::noop_coroutine();
      }
      if (const std::coroutine_handle<> next = this->begin()) {
        tell_of_entry();
        return next;
      }
      this->on_end(this->how_it_ended());
      return nullptr;
    } else {
      start_entered();
      return waiting();
    }
  }

  // Starts the branch below `parent` if it ends at once, and reports nothing. Returns false if it
  // has to wait: start_unready() comes next.
  bool end_if_ready(context& parent) noexcept {
    this->enter_context(parent);
    if (this->is_refused() || !this->ask_ready()) return false;
    this->outcome_ = this->how_it_ended();
    return true;
  }
  // Starts the branch after end_if_ready(). Returns null if it has ended.
  std::coroutine_handle<> start_unready() noexcept {
    if (this->is_refused()) {
      this->on_end(outcome::cancelled);
    } else if (!this->begin_unready()) {
      this->on_end(this->how_it_ended());
    }
    return waiting();
  }

  using base::enter_context;

  std::coroutine_handle<> chain_destroyed() noexcept override {
    return this->on_end(outcome::cancelled);
  }

  // Returns true after start(), until the branch has ended at least.
  bool is_started() const noexcept {
    if constexpr (Kind::has_chain) {
      return this->owner_context().parent() != nullptr;
    } else {
      return this->is_bound();
    }
  }

  // Asks the branch to end early. Resumes nothing. No effect on a branch that has ended. A branch
  // without a context may report its end before this returns.
  void cancel(cancel_cause cause) noexcept {
    if (this->ended() != outcome::none) return;
    if constexpr (Kind::has_chain) {
      this->owner_context().cancel(cause);
    } else {
      this->withdraw(cause);
    }
  }

  // The same, but a branch without a context that ends by it reports nothing: its owner looks at
  // the result. Returns true then.
  bool cancel_quietly(cancel_cause cause) noexcept {
    if constexpr (Kind::has_chain) {
      cancel(cause);
      return false;
    } else {
      if (this->ended() != outcome::none || !this->ask_to_end(cause)) return false;
      this->outcome_ = outcome::cancelled;
      return true;
    }
  }

  std::exception_ptr failure() noexcept override { return this->failure_of_operation(); }

  const char* given_name() const noexcept override {
    if constexpr (requires { this->op().given_name(); }) {
      return this->op().given_name();
    } else {
      return nullptr;
    }
  }

  // Returns the value or throws the failure. Requires that the branch has ended with one of them.
  // At most once.
  decltype(auto) result() { return this->take(); }

 private:
  std::coroutine_handle<> waiting() const noexcept {
    return this->ended() == outcome::none ? std::coroutine_handle<>(std::noop_coroutine())
                                          : nullptr;
  }
  void tell_of_entry() const noexcept {
    if constexpr (kind_of<Op> == operation_kind::coroutine) {
      const context& own = this->owner_context();
      if (own.in_reactor().observed_by() != nullptr) [[unlikely]]
        own.in_reactor().tell_of_entry(own);
    }
  }
};

}  // namespace kedge
