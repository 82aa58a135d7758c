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
// Destroying the loop destroys the remaining tasks, innermost first, then closes the registrations
// of its sources: waits on objects that outlive the loop end with errc::loop_gone.
#pragma once

#include <exception>
#include <iosfwd>
#include <source_location>
#include <utility>

#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/reactor/reactor.h"
#include "kedge/runtime/scope.h"

namespace kedge {

class loop : public reactor {
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
  // `cancelled` if cancel() ended x. Spawned tasks run beside x and stay in the loop when run()
  // returns. If a spawned task fails, x is cancelled, and the failure is thrown once all tasks have
  // ended. Throws std::logic_error if the loop is being driven already, and std::system_error if
  // the kqueue fails.
  template <awaitable A>
    requires(!std::is_lvalue_reference_v<A>)
  awaited_t<A> run(A&& x, std::source_location place = std::source_location::current());

  // Runs fn(args...), or an awaitable, in the loop's own scope (see scope::spawn, whose exceptions
  // it throws). May be called between drives: the task then starts in the next drive. If a task
  // fails, the others are cancelled, and the drive in which the last of them ends throws the
  // failure.
  template <class Fn, class First, class... Rest>
  void spawn(Fn&& fn, First&& first, Rest&&... rest) {
    {
      const hooked scope(*this);
      tasks.spawn(std::forward<Fn>(fn), std::forward<First>(first), std::forward<Rest>(rest)...);
    }
    announce_started();
  }
  template <class What>
  void spawn(What&& what, std::source_location place = std::source_location::current()) {
    {
      const hooked scope(*this);
      tasks.spawn(std::forward<What>(what), place);
    }
    announce_started();
  }

  // Cancels the awaitable that run() runs, all spawned tasks, and the tasks that they spawn; then
  // run() throws `cancelled`. Resumes nothing. When all of them have ended, the loop can be used
  // again. No effect on an idle loop.
  void cancel() noexcept;

  // The number of spawned tasks that have not ended.
  std::size_t size() const noexcept { return tasks.size(); }

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

  // Prints the tree of tasks, each with its origin, the operation that it waits for and the place
  // of that wait. May be called from a running task. Throws what `out` throws.
  void dump(std::ostream& out);

  // Returns the loop that the calling thread is driving, or null outside of a drive. For code that
  // has no operation, whose context knows the loop.
  static loop* current() noexcept { return static_cast<loop*>(reactor::current()); }

 private:
  class root_scope final : public scope {
   public:
    explicit root_scope(loop& l) noexcept : loop_(l) { open(l, nullptr); }
    using scope::destroy_children;
    using scope::next_standing;
    using scope::reset;

   private:
    // A failure stays until a drive has thrown it, and a cancellation until the root has ended.
    void all_children_done() noexcept override {
      if (failures().empty() && loop_.running_ == nullptr) reset();
    }
    loop& loop_;
  };

  // Holds the branch that run() runs.
  class root : public branch_owner {
   public:
    explicit root(loop& l) noexcept : loop_(l) {}
    root(const root&) = delete;
    root& operator=(const root&) = delete;
    void drive(context& c);

   private:
    void branch_done(branch_base&) noexcept override { done_ = true; }
    loop& loop_;
    bool done_ = false;
  };

  void throw_failure();

  // In a union, so that ~loop decides whether it is destroyed.
  union {
    root_scope tasks;
  };
  context* running_ = nullptr;
};

template <awaitable A>
  requires(!std::is_lvalue_reference_v<A>)
awaited_t<A> loop::run(A&& x, std::source_location place) {
  root holder(*this);
  const driving scope(*this);
  branch<operation_of<A>> b(std::move(x), holder);
  b.set_origin("run", place);
  b.bind(*this, nullptr);
  b.start();
  holder.drive(b);
  if (b.ended() == branch_base::outcome::cancelled) throw cancelled(b.cause());
  return b.result();
}

}  // namespace kedge
