// loop: runs tasks on one thread. The reactor, and what it runs.
//
//     kedge::loop loop;
//     int status = loop.run(serve(loop));      // until serve() has ended
//
// or, in a program with a main loop of its own: spawn() tasks and drive with poll(), run_once(),
// next_deadline() and native_handle() (see reactor.h). One loop is one thread's at a time; several
// loops on one thread are driven in turn.
//
// Destroying the loop destroys the tasks that are left, innermost first, then closes its sources'
// registrations: objects that outlive it answer errc::loop_gone.
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
  // Throws std::system_error if the system has no kqueue left.
  loop();
  ~loop();

  // Drives until x has ended, and gives what x gives or throws what it throws: `cancelled` if it
  // was cancelled by cancel(). Spawned tasks run meanwhile and stay when it returns; if one of them
  // fails, x is cancelled, and the failure thrown once all have ended. Not re-entrant
  // (std::logic_error).
  template <awaitable A>
    requires(!std::is_lvalue_reference_v<A>)
  awaited_t<A> run(A&& x, std::source_location place = std::source_location::current());

  // Runs fn(args...), or an awaitable, in the loop's own scope (see scope::spawn). May be called
  // between drives; the task starts with the next one. If a task fails the others are cancelled,
  // and when they have ended the failure is thrown by the drive that sees it.
  template <class Fn, class First, class... Rest>
  void spawn(Fn&& fn, First&& first, Rest&&... rest) {
    {
      const hooked scope(*this);
      tasks_.spawn(std::forward<Fn>(fn), std::forward<First>(first), std::forward<Rest>(rest)...);
    }
    announce_started();
  }
  template <class What>
  void spawn(What&& what, std::source_location place = std::source_location::current()) {
    {
      const hooked scope(*this);
      tasks_.spawn(std::forward<What>(what), place);
    }
    announce_started();
  }

  // Cancels what run() runs and all that was spawned, and what that spawns; then run() throws
  // `cancelled`. When they have ended, the loop is as before.
  void cancel() noexcept;

  // Spawned tasks that have not ended.
  std::size_t size() const noexcept { return tasks_.size(); }

  bool poll() { return run_once(clock::duration::zero()); }
  bool run_once(clock::duration max_wait = clock::duration::max());

  // Prints the tree of tasks, each with what it waits for and where. On the loop's thread.
  void dump(std::ostream& out);

  // The loop that the calling thread is driving; null outside. For code outside of operations.
  static loop* current() noexcept { return static_cast<loop*>(reactor::current()); }

 private:
  class root_scope final : public scope {
   public:
    explicit root_scope(loop& l) noexcept : loop_(l) { open(l, nullptr); }
    using scope::destroy_children;
    using scope::next_standing;
    using scope::reset;

   private:
    // A failure stays until a drive has thrown it; a cancellation, until what run() runs has ended.
    void all_children_done() noexcept override {
      if (failures().empty() && loop_.running_ == nullptr) reset();
    }
    loop& loop_;
  };

  // What run() runs.
  class root : public branching {
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

  root_scope tasks_{*this};
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
