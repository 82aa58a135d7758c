// scope: children that run concurrently and cannot outlive the block that they belong to.
//
//     co_await kedge::with_scope([&](kedge::scope& s) -> kedge::task<> {
//       s.spawn(serve, std::move(connection));
//       co_await stop.next();
//       s.cancel();
//     });
//
// with_scope(body) makes the scope and ends when the body and all children have ended (see
// with_scope.h). The first failure, of a child or of the body, cancels all the others.
//
// Threads: the loop's thread only.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/awaiting/frame_recycler.h"
#include "kedge/runtime/spawner.h"

namespace kedge {

class failure_list;

class scope : public spawner<scope> {
 public:
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;

  // Cancels the body and all children, those that are spawned later included. Resumes nothing. A
  // child that is cancelled before its turn ends at its first wait.
  void cancel() noexcept { cancel_all(cancel_cause::requested); }
  bool cancelled() const noexcept { return context_.cancelled(); }

  // The failures so far, of the body and of children, in the order in which they happened. They are
  // kept until the scope ends.
  failure_list failures() const noexcept;

  // The number of children that have not ended.
  std::size_t size() const noexcept { return size_; }

 protected:
  // One child, or the body.
  class child : public branch_owner {
   public:
    explicit child(scope& s) noexcept : scope_(s) {}
    child(const child&) = delete;
    child& operator=(const child&) = delete;
    virtual ~child() = default;
    static void* operator new(std::size_t size) { return frame_recycler::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept {
      frame_recycler::release(block, size);
    }

    virtual branch_base& held_branch() noexcept = 0;

    // Destroys the child.
    virtual void discard() noexcept { delete this; }

    child* next = nullptr;  // in the list of failures, or of children to delete

   protected:
    scope& owner() const noexcept { return scope_; }

   private:
    waiter* branch_done(branch_base& b) noexcept override {
      return scope_.child_done(*this, b.ended());
    }
    const char* branch_name() const noexcept override { return "child"; }
    scope& scope_;
  };
  // A child without a context of its own.
  class leaf_child : public child {
   public:
    using child::child;
    void cancel(cancel_cause cause) noexcept {
      branch_base& b = held_branch();
      if (b.ended() == outcome::none) b.withdraw(cause);
    }

    leaf_child* newer = nullptr;
    leaf_child* older = nullptr;
    std::source_location spawned_at;

   private:
    std::source_location place() const noexcept override { return spawned_at; }
    waiter* branch_done(branch_base& b) noexcept override {
      owner().unlink(*this);
      return owner().child_done(*this, b.ended());
    }
  };

  scope() noexcept : reaper_(*this) {}
  // Requires that the derived class has called destroy_children().
  ~scope() = default;

  // Opens the scope below `parent`.
  void open(context& parent) noexcept {
    context_.enter(parent);
    tell(happening::spawned, context_);
  }
  // Opens the scope as the root of a loop.
  void open_root(reactor& r) noexcept { context_.enter_root(r); }
  void close() noexcept {
    closed_ = true;
    tell(happening::ended, context_);
  }

  context& own_context() noexcept { return context_; }
  const context& own_context() const noexcept { return context_; }
  void cancel_all(cancel_cause cause) noexcept;
  // Returns whether cancel_all() came before any cancellation from outside.
  bool cancelled_itself() const noexcept { return cancelled_itself_; }
  bool any_child_cancelled() const noexcept { return any_child_cancelled_; }
  bool any_failed() const noexcept { return first_failure_ != nullptr; }
  std::exception_ptr first_failure() const noexcept {
    return first_failure_->held_branch().failure();
  }
  // `c` has ended so. Returns the waiter whose wait this ends, or null.
  waiter* child_done(child& c, outcome o) noexcept;
  // Adds the failure of `c`, and cancels all.
  void note_failure(child& c) noexcept;
  // Cancels the children without a context, which a cancellation of the scope's does not reach.
  void cancel_leaves(cancel_cause cause) noexcept;
  // See branch_owner::next_leaf().
  const waiter* next_leaf(const waiter* previous) const noexcept;
  // Cancels each child by itself, so that later children are not cancelled.
  void cancel_present_children(cancel_cause cause) noexcept;
  // Destroys the coroutines of the body and the children, innermost first, and the records of
  // those that have ended.
  void destroy_tasks() noexcept {
    context_.destroy();
    if (ended_ != nullptr) delete_ended();
    if (first_failure_ != nullptr) reset();
  }
  // Destroys the children and what they run, innermost first. Requires that there is no body.
  void destroy_children() noexcept {
    context_.destroy();
    if (context_.first_child() != nullptr || newest_leaf_ != nullptr || ended_ != nullptr ||
        first_failure_ != nullptr) {
      destroy_records();
    }
  }
  // Forgets how the scope ended, so that it can be used again. Requires that all children have
  // ended.
  void reset() noexcept;

  template <class Fn, class... Args>
  void add(std::source_location place, Fn&& fn, Args&&... args);
  template <awaitable A>
  void add(std::source_location place, A&& a);

 private:
  friend class spawner<scope>;
  friend class failure_list;

  template <class Op>
  using child_of = std::conditional_t<needs_context<Op>, child, leaf_child>;

  // A callable and its arguments, which live as long as the child.
  template <class Fn, class... Args>
  class called {
   public:
    template <class F, class... A>
    explicit called(F&& fn, A&&... args)
        : fn_(std::forward<F>(fn)), args_(std::forward<A>(args)...) {}
    decltype(auto) call() {
      return std::apply(
          [this](Args&... a) -> decltype(auto) {
            return std::invoke(std::move(fn_), std::move(a)...);
          },
          args_);
    }

   private:
    [[no_unique_address]] Fn fn_;
    [[no_unique_address]] std::tuple<Args...> args_;
  };
  struct nothing_called {};

  // A child that runs an Op.
  template <class Op, class Called = nothing_called>
  class record final : public child_of<Op>, private Called {
   public:
    template <class A>
    explicit record(scope& s, A&& awaitable)
        : child_of<Op>(s), branch_(std::forward<A>(awaitable), *this) {}
    template <class... C>
    explicit record(scope& s, std::in_place_t, C&&... called)
        : child_of<Op>(s), Called(std::forward<C>(called)...), branch_(this->call(), *this) {}

    static_assert(
        alignof(branch<Op>) <= 2 * sizeof(void*) && alignof(Called) <= 2 * sizeof(void*),
        "kedge: spawn() keeps nothing of extended alignment: records are not aligned to it");

    branch<Op>& held() noexcept { return branch_; }
    branch_base& held_branch() noexcept override { return branch_; }

   private:
    branch<Op> branch_;
  };

  // Deletes the ended children at its own turn: a child's end is reported from within its
  // coroutine, which cannot be destroyed there.
  class reaper final : public waiter {
   public:
    explicit reaper(scope& s) noexcept : waiter(&s.context_, nullptr), scope_(s) {}
    std::coroutine_handle<> proceed() noexcept override;
    void withdraw(cancel_cause) noexcept override {}
    void describe(description&) const noexcept override {}

   private:
    scope& scope_;
  };

  template <class Record>
  void adopt(Record* r, std::source_location place) noexcept;
  void link(leaf_child& c) noexcept;
  void unlink(leaf_child& c) noexcept;
  void require_open() const;
  void destroy_records() noexcept;
  void delete_ended() noexcept;

  // All children have ended. Returns the waiter for the end of the scope if that has ended too, and
  // will be destroyed.
  virtual waiter* all_children_done() noexcept = 0;

  context context_{nullptr};
  leaf_child* newest_leaf_ = nullptr;
  child* ended_ = nullptr;  // the children to delete
  child* first_failure_ = nullptr;
  child* last_failure_ = nullptr;
  std::size_t size_ = 0;
  reaper reaper_;
  bool closed_ = false;
  bool cancelled_itself_ = false;
  bool any_child_cancelled_ = false;
};

// The failures of a scope. Valid as long as the scope.
class failure_list {
 public:
  class iterator {
   public:
    std::exception_ptr operator*() const noexcept { return at_->held_branch().failure(); }
    iterator& operator++() noexcept {
      at_ = at_->next;
      return *this;
    }
    bool operator==(const iterator&) const = default;

   private:
    friend class failure_list;
    explicit iterator(scope::child* at) noexcept : at_(at) {}
    scope::child* at_;
  };

  iterator begin() const noexcept { return iterator(first_); }
  iterator end() const noexcept { return iterator(nullptr); }
  bool empty() const noexcept { return first_ == nullptr; }
  std::size_t size() const noexcept {
    std::size_t count = 0;
    for (const scope::child* c = first_; c != nullptr; c = c->next) ++count;
    return count;
  }

 private:
  friend class scope;
  explicit failure_list(scope::child* first) noexcept : first_(first) {}
  scope::child* first_;
};

inline failure_list scope::failures() const noexcept {
  return failure_list(first_failure_);
}

template <class Fn, class... Args>
void scope::add(std::source_location place, Fn&& fn, Args&&... args) {
  using made = called<std::decay_t<Fn>, std::decay_t<Args>...>;
  static_assert(std::is_invocable_v<std::decay_t<Fn>, std::decay_t<Args>...>,
                "kedge: spawn() keeps copies of its arguments and hands them on as rvalues: for a "
                "parameter that is a reference pass std::ref(x)");
  using source = std::invoke_result_t<std::decay_t<Fn>, std::decay_t<Args>...>;
  static_assert(awaitable<source>, "kedge: spawn() takes a callable that gives an awaitable");
  require_open();
  adopt(new record<operation_of<source>, made>(*this, std::in_place, std::forward<Fn>(fn),
                                               std::forward<Args>(args)...),
        place);
}

template <awaitable A>
void scope::add(std::source_location place, A&& a) {
  require_open();
  adopt(new record<operation_of<A>>(*this, std::forward<A>(a)), place);
}

template <class Record>
void scope::adopt(Record* r, std::source_location place) noexcept {
  ++size_;
  if constexpr (std::is_base_of_v<leaf_child, Record>) {
    r->spawned_at = place;
    link(*r);
  } else {
    r->held().set_place(place);
  }
  r->held().start(context_);
}

}  // namespace kedge
