// loop: runs tasks on one thread. It is a reactor and the scope of all tasks.
//
//     kedge::loop loop;
//     int status = loop.run(serve(loop));      // until serve() has ended
//
// A program with its own main loop instead spawns tasks and drives with poll(), run_once(),
// next_deadline() and native_handle() (see reactor/reactor.h).
//
// Threads: a loop belongs to one thread at a time, the one that drives it; only get_remote()'s
// handles may be used elsewhere. Several loops on one thread are driven in turn.
// What spawned tasks refer to must outlive the loop, or the tasks are ended first: cancel(), and
// drive until size() is 0. A scope inside of run() does so by itself (with_scope).
// Destroying the loop destroys the remaining tasks, innermost first, then closes the registrations
// of its sources: waits on objects that outlive the loop end with errc::loop_gone.
#pragma once

#include <exception>
#include <iosfwd>
#include <source_location>
#include <utility>
#include <vector>

#include "kedge/runtime/attempted.h"
#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/scope.h"
#include "kedge/runtime/spawner.h"

namespace kedge {

class loop : public reactor, public spawner<loop> {
 public:
  // Throws std::system_error if the system cannot make a kqueue, and std::bad_alloc.
  loop();
  // A loop whose time is `time`'s, for simulations. Also throws std::system_error if the kernel
  // cannot follow a time_source, as on Darwin.
  explicit loop(time_source& time);
  // Ends the program if the loop is being driven. If a task calls exit(), which destroys a static
  // loop, the loop and its tasks are left as they are.
  ~loop();

  // Drives the loop until x has ended. Returns the value of x or throws its exception; throws
  // kedge::cancelled if cancel() ended x, and kedge::deadlock if it would wait without end and
  // nothing is left that could wake the loop (deadlock.h). Spawned tasks run beside x and stay in
  // the loop when run() returns. If a spawned task fails, x and the other tasks are cancelled, and
  // the first failure is thrown once all have ended. Throws std::logic_error if the loop is being
  // driven already, and std::system_error if the kqueue fails.
  template <called_awaitable A>
  awaited_t<A> run(A&& x, std::source_location place = std::source_location::current()) {
    return try_run(std::move(x), place).value();
  }
  // The same, but returns how x ended. Throws the failure of a spawned task.
  template <called_awaitable A>
  attempted<awaited_t<A>> try_run(A&& x,
                                  std::source_location place = std::source_location::current()) {
    return drive([&] { return run_root(std::move(x), place); });
  }

  // spawn(fn, args...) and spawn(x): run a task in the loop's own scope (see spawner.h). May be
  // called between drives: the task then starts in the next drive. If a task fails, the others are
  // cancelled, and the drive in which the last of them ends throws the failure.

  // Cancels the awaitable that run() runs and all tasks that have been spawned; run() then throws
  // kedge::cancelled. Resumes nothing. Tasks that are spawned later are not cancelled. No effect on
  // an idle loop.
  void cancel() noexcept;

  // The number of spawned tasks that have not ended.
  std::size_t size() const noexcept { return tasks.size(); }

  // All failures that led to the exception of the last drive that threw one, in the order in which
  // they happened: of spawned tasks, and of the awaitable of run().
  const std::vector<std::exception_ptr>& failures() const noexcept { return failures_; }

  // For a host that has a main loop of its own. One turn, which always asks the kernel: takes
  // posts, due timers and events, then runs ready tasks. poll() does not block. run_once() waits
  // for at most max_wait, of any type of duration, until a task is ready or an event arrives; a
  // signal that interrupts the wait ends it. Return false if nothing came and nothing ran. Pending
  // changes have been submitted on return. Throw the failure of a spawned task, once the other
  // tasks have ended. Throw std::logic_error if the loop is being driven, std::invalid_argument if
  // max_wait is not a number, and std::system_error if the kqueue fails or (errc::forked) if the
  // loop belongs to the parent of this process.
  bool poll() { return run_once(clock::duration::zero()); }
  bool run_once(clock::duration max_wait = clock::duration::max());
  template <class Rep, class Period>
  bool run_once(std::chrono::duration<Rep, Period> max_wait) {
    return run_once(saturate(max_wait));
  }

  // Resumes exactly one ready task, the one that the observer chooses. Takes posts, due timers and
  // events first if none is ready, and at every 64th step, without waiting. Returns false if none
  // is ready. Throws as poll().
  bool step();

  // Prints the tree of tasks: each with its name, its origin, the operation that it waits for, and
  // the places at which its coroutines wait, innermost first. May be called from a running task.
  // Throws what `out` throws.
  void dump(std::ostream& out);

  // Returns the loop that the calling thread is driving, or null outside of a drive. For code that
  // has no operation, whose context knows the loop.
  static loop* current() noexcept { return static_cast<loop*>(reactor::current()); }

 private:
  friend class reactor;  // asks whether run() drives
  friend class spawner<loop>;
  friend class virtual_time;

  class root_scope final : public scope {
   public:
    explicit root_scope(loop& l) noexcept : loop_(l) { open_root(l); }
    using scope::add;
    using scope::any_failed;
    using scope::cancel_present_children;
    using scope::copy_failures;
    using scope::destroy_children;
    using scope::first_failure;
    using scope::next_leaf;
    using scope::own_context;
    using scope::reset;

   private:
    // A failure stays until a drive has thrown it.
    waiter* all_children_done() noexcept override {
      if (!any_failed() && loop_.root_ == nullptr) reset();
      return nullptr;
    }
    loop& loop_;
  };

  // What run() runs.
  class root : public branch_owner {
   public:
    explicit root(loop& l) noexcept : loop_(l) { l.root_ = this; }
    root(const root&) = delete;
    root& operator=(const root&) = delete;
    bool is_done() const noexcept { return is_done_; }

   protected:
    ~root() { loop_.root_ = nullptr; }

   private:
    waiter* branch_done(branch_base&) noexcept override {
      is_done_ = true;
      return nullptr;
    }
    const char* branch_name() const noexcept override { return "run"; }
    loop& loop_;
    bool is_done_ = false;
  };
  template <class Op>
  class root_of final : public root {
   public:
    template <class A>
    root_of(loop& l, A&& x) : root(l), held(std::forward<A>(x), *this) {}
    root_of(const root_of&) = delete;
    root_of& operator=(const root_of&) = delete;
    ~root_of() { held.destroy(); }  // if a drive has thrown
    branch<Op, outer_branch> held;
  };

  template <class... What>
  void add(std::source_location place, What&&... what) {
    static_assert(!(is_background<std::decay_t<What>> || ...),
                  "kedge: a loop takes no background() children: spawn them in a scope");
    require_living();
    {
      const hooked scope(*this);
      tasks.add(place, std::forward<What>(what)...);
    }
    announce_started();
  }
  template <awaitable A>
  attempted<awaited_t<A>> run_root(A&& x, std::source_location place);
  void drive_root();
  // For virtual_time: poll() by turn_in_virtual_time().
  bool poll_in_virtual_time(bool asks_kernel);
  // Makes failures() from the failures of spawned tasks and of the root (null: it has not failed).
  // Throws the first one of a spawned task, once all these tasks have ended.
  void note_failures(const std::exception_ptr& of_root);
  void throw_failure_if_over();
  // Throws std::logic_error if the loop's tasks have been destroyed.
  void require_living() const;

  // In a union, so that ~loop decides whether it is destroyed.
  union {
    root_scope tasks;
  };
  root* root_ = nullptr;
  bool is_over_ = false;
  std::vector<std::exception_ptr> failures_;
};

template <awaitable A>
attempted<awaited_t<A>> loop::run_root(A&& x, std::source_location place) {
  root_of<operation_of<A>> r(*this, std::move(x));
  r.held.set_place(place);
  r.held.start(tasks.own_context());
  drive_root();
  const outcome o = r.held.ended();
  const std::exception_ptr failure = o == outcome::failed ? r.held.failure() : nullptr;
  if (failure != nullptr || tasks.any_failed()) note_failures(failure);
  if (o == outcome::cancelled) return attempted<awaited_t<A>>(r.held.cause());
  if (o == outcome::failed) return attempted<awaited_t<A>>(failure);
  return {std::in_place, [&]() -> decltype(auto) { return r.held.result(); }};
}

}  // namespace kedge
