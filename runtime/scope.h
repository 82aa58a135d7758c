// scope: children that run concurrently and cannot outlive the block that they belong to.
//
//     co_await kedge::with_scope([&](kedge::scope& s) -> kedge::task<> {
//       s.spawn(serve, std::move(connection));
//       co_await stop.next();
//       s.cancel();
//     });
//
// with_scope(body) makes the scope and ends when the body and all children have ended (see
// with_scope.h). The first failure, of a child or of the body, cancels all the others. handled.h
// has children whose failure does not, background.h children that end with the others.
//
// Threads: the loop's thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/awaiting/frame_recycler.h"
#include "kedge/runtime/awaiting/source.h"
#include "kedge/runtime/background.h"
#include "kedge/runtime/reactor/clock.h"
#include "kedge/runtime/reactor/ready_queue.h"
#include "kedge/runtime/reactor/timer.h"
#include "kedge/runtime/spawner.h"

namespace kedge {

class failure_list;
template <class Fn, class... Args>
class start_awaitable;
template <class Fn, class... Args>
class start_operation;

class scope : public spawner<scope> {
  // What most scopes do without: the limit, the end of drain(), the background children. Tasks that
  // wait for room are its queue. It is closed when the scope drains or has ended.
  class control final : public queue_state {
   public:
    explicit control(scope& s) noexcept : of(s), share_of_scope_(this) {}

    bool has_room() const noexcept { return !is_closed() && kept.empty() && running() < limit; }
    void serve() noexcept {
      if (has_room()) waiting.grant_all();
    }
    // Requires that the newest child has been counted.
    bool is_full() const noexcept { return !kept.empty() || running() > limit; }
    void keep(waiter& child) noexcept {
      kept.push_back(child);
      ++kept_size;
    }
    // Lets the child start if it is kept.
    void release(const waiter& child) noexcept;
    // Starts kept children, lets tasks go that wait for room, cancels background children: as it is
    // time for each. Called in the turn after a child or the body has ended.
    void tend() noexcept;
    // Ends the scope by cancel_cause::deadline at `t`, or at the end of an earlier call.
    void drain_until(clock::time_point t);
    void close() noexcept {
      end_of_grace_.reset();
      abandon();
    }
    source_hold<control> hold() const noexcept { return share_of_scope_; }
    // The scope is being destroyed.
    void leave() noexcept {
      close();
      const source_hold<control> last = std::move(share_of_scope_);
    }

    scope& of;  // valid until the control is closed
    std::size_t limit = std::numeric_limits<std::size_t>::max();
    ready_queue<waiter> kept;  // the children that wait for room, oldest first
    std::size_t kept_size = 0;
    std::size_t background = 0;  // children that have not ended
    bool background_is_cancelled = false;
    clock::time_point deadline = clock::time_point::max();  // of drain()

   private:
    // The children that have a place below the limit.
    std::size_t running() const noexcept { return of.size_ - background - kept_size; }

    class grace final : public timer {
     public:
      explicit grace(scope& s) noexcept : of_(s) {}

     private:
      void expire() noexcept override { of_.cancel_all(cancel_cause::deadline); }
      scope& of_;
    };
    std::unique_ptr<grace> end_of_grace_;
    source_hold<control> share_of_scope_;
  };

 public:
  class room_request : public request<control> {
   public:
    static constexpr const char* aim = "room in a scope";
    explicit room_request(source_hold<control> c) noexcept : request(std::move(c)) {}
    bool try_take() const noexcept { return source_->has_room(); }
    result<void> take() const noexcept { return {}; }
    result<void> refusal() const noexcept { return closed("scope::room"); }
  };

  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;

  // Cancels the body and all children, those that are spawned later included. Resumes nothing. A
  // child that is cancelled before its turn ends at its first wait.
  void cancel() noexcept { cancel_all(cancel_cause::requested); }
  bool cancelled() const noexcept { return context_.cancelled(); }

  // The failures so far, of the body and of children, in the order in which they happened. They are
  // kept until the scope ends; with_scope(body, failures) leaves them to its caller.
  failure_list failures() const noexcept;

  // The number of children that have not ended, with those that wait for room.
  std::size_t size() const noexcept { return size_; }

  // Lets at most `most` children run at a time, not counting the body and background children.
  // spawn() keeps the others, which start in the order in which they were spawned, at turns in
  // which there is room; in a cancelled scope too, where they end at their first wait. A lower
  // limit than before ends no child. Throws std::system_error (EINVAL) if `most` is zero, and
  // std::bad_alloc. No effect on a scope that has ended.
  void set_limit(std::size_t most);

  // `co_await s.room()` waits until a child would start at once. Reserves nothing: all tasks that
  // wait for room go on when there is some, and spawn() keeps what exceeds the limit. Gives
  // result<void>: errc::closed if the scope drains or ends first. Cancellation loses nothing.
  // Throws std::bad_alloc.
  source_awaitable<room_request> room();

  // Refuses new children: spawn() throws std::system_error (errc::closed), and room() gives that. A
  // child that spawns fails by it, and its failure cancels the others: end what accepts work first.
  // Cancels nothing until `grace` has passed, then the body and all children, with the cause
  // cancel_cause::deadline. Children that wait for room still start. Does not wait: the body goes
  // on, and with_scope awaits the children. `grace` is of any type of duration; one that is not
  // positive has passed at the next turn. Of several calls the earliest end counts. Throws
  // std::invalid_argument if `grace` is not a number, and std::bad_alloc; there is no effect then.
  // No effect on a scope that has ended.
  template <class Rep, class Period>
  void drain(std::chrono::duration<Rep, Period> grace) {
    drain_within(saturate(grace));
  }

  // `co_await s.start(fn, args...)` runs fn(started<T>&, args...) as a child, and gives the T that
  // the child reports by started<T>::report(); the child then goes on in the scope. started.h,
  // which a caller includes, has the rules.
  template <class Fn, class... Args>
  start_awaitable<std::decay_t<Fn>, std::decay_t<Args>...> start(Fn&& fn, Args&&... args);

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

    static constexpr bool is_background = false;

    virtual branch_base& held_branch() noexcept = 0;

    // Destroys the child.
    virtual void discard() noexcept { delete this; }

    child* next;  // in the list of failures, or of children to delete

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

  // A child, with or without a context, that is cancelled when the others have ended. That this
  // ended it does not count as a cancellation.
  template <class Child>
  class background_child : public Child {
   public:
    static constexpr bool is_background = true;
    using Child::Child;

   private:
    waiter* branch_done(branch_base& b) noexcept override {
      scope& s = this->owner();
      if constexpr (std::is_same_v<Child, leaf_child>) s.unlink(*this);
      --s.control_->background;
      return s.child_done(*this, b.ended() == outcome::cancelled ? outcome::value : b.ended());
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
    intake_ = intake::closed;
    if (control_ != nullptr) [[unlikely]]
      close_control();
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
  // Sets `all` to the failures so far, and `last` if it is not null, as far as there is memory.
  void copy_failures(std::vector<std::exception_ptr>& all,
                     const std::exception_ptr& last = nullptr) const noexcept;
  // Looks at the limit and the background children at the next turn. To be called when the body has
  // ended; a child's end does so by itself.
  void tend_later() noexcept {
    if (control_ != nullptr) [[unlikely]]
      call_reaper();
  }
  // The number of children that wait for room.
  std::size_t kept() const noexcept { return control_ != nullptr ? control_->kept_size : 0; }
  // max() if drain() has set none.
  clock::time_point drain_deadline() const noexcept {
    return control_ != nullptr ? control_->deadline : clock::time_point::max();
  }
  // `c` has ended so. Returns the waiter whose wait this ends, or null. At once if it has a value,
  // is not the last one, and others are to be deleted too.
  waiter* child_done(child& c, outcome o) noexcept {
    if (o != outcome::value || size_ == 1 || !reaper_.queued()) return child_done_slowly(c, o);
    --size_;
    c.next = ended_;
    ended_ = &c;
    return nullptr;
  }
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
    if (size_ != 0 || ended_ != nullptr || first_failure_ != nullptr || control_ != nullptr) {
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
  template <class Fn, class... Args>
  friend class start_awaitable;
  template <class Fn, class... Args>
  friend class start_operation;

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
  template <class Op, class Called = nothing_called, class Child = child_of<Op>>
  class record final : public Child, private Called {
   public:
    template <class A>
    explicit record(scope& s, A&& awaitable)
        : Child(s), branch_(std::forward<A>(awaitable), *this) {}
    template <class... C>
    explicit record(scope& s, std::in_place_t, C&&... called)
        : Child(s), Called(std::forward<C>(called)...), branch_(this->call(), *this) {}

    static_assert(
        alignof(branch<Op>) <= 2 * sizeof(void*) && alignof(Called) <= 2 * sizeof(void*),
        "kedge: spawn() keeps nothing of extended alignment: records are not aligned to it");

    branch<Op>& held() noexcept { return branch_; }
    branch_base& held_branch() noexcept override { return branch_; }

   private:
    branch<Op> branch_;
  };

  // Deletes the ended children at its own turn, and looks after the others then: a child's end is
  // reported from within its coroutine, which cannot be destroyed there.
  class reaper final : public waiter {
   public:
    explicit reaper(scope& s) noexcept : waiter(&s.context_, nullptr), scope_(s) {}
    reaper(const reaper&) = delete;
    reaper& operator=(const reaper&) = delete;
    ~reaper() { unlink(); }
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
  void require_open() const {
    if (intake_ > intake::limited) [[unlikely]]
      refuse_child();
  }
  [[noreturn]] void refuse_child() const;
  control& need_control();
  void close_control() noexcept;
  void call_reaper() noexcept;
  // Starts the newest child, or keeps it if the scope is full. Out of line, to keep spawn() small.
  template <class Branch>
  [[gnu::noinline]] void start_limited(Branch& b) noexcept {
    if (!control_->is_full()) return b.start(context_);
    b.start_when_woken(context_);
    control_->keep(b);
  }
  void drain_within(clock::duration grace);
  void count_background() noexcept;
  void destroy_records() noexcept;
  void delete_ended() noexcept;
  waiter* child_done_slowly(child& c, outcome o) noexcept;

  // All children have ended. Returns the waiter for the end of the scope if that has ended too, and
  // will be destroyed.
  virtual waiter* all_children_done() noexcept = 0;
  // Whether background children have nothing but other children to wait for.
  virtual bool is_body_over() const noexcept { return false; }

  context context_{nullptr};
  leaf_child* newest_leaf_ = nullptr;
  child* ended_ = nullptr;  // the children to delete
  child* first_failure_ = nullptr;
  child* last_failure_ = nullptr;
  std::size_t size_ = 0;
  reaper reaper_;
  control* control_ = nullptr;  // of a scope that has needed it
  enum class intake : unsigned char { open, limited, draining, closed } intake_ = intake::open;
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
  using plain = child_of<operation_of<source>>;
  constexpr bool in_background = is_background<std::decay_t<Fn>>;
  using kind = std::conditional_t<in_background, background_child<plain>, plain>;
  require_open();
  if constexpr (in_background) need_control();
  adopt(new record<operation_of<source>, made, kind>(*this, std::in_place, std::forward<Fn>(fn),
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
  if constexpr (Record::is_background) {
    count_background();
  } else if (intake_ != intake::open) [[unlikely]] {
    return start_limited(r->held());
  }
  r->held().start(context_);
}

}  // namespace kedge
