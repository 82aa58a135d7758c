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
#include <vector>

#include "kedge/runtime/awaiting/branch.h"
#include "kedge/runtime/awaiting/frame_recycler.h"

namespace kedge {

class scope {
 public:
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;

  // Runs fn(args...), which returns an awaitable, as a child. The child starts at its turn. The
  // callable and its arguments are moved into the child's record and live as long as the child, so
  // a closure may capture what the child needs; fn receives rvalues, as from std::thread. The
  // child's value is dropped. A child that is cancelled before its turn never starts. Throws
  // std::bad_alloc and the exception of fn; there is no child then.
  template <class Fn, class First, class... Rest>
  void spawn(Fn&& fn, First&& first, Rest&&... rest) {
    add({}, std::forward<Fn>(fn), std::forward<First>(first), std::forward<Rest>(rest)...);
  }
  template <class Fn>
    requires(!awaitable<Fn>)
  void spawn(Fn&& fn, std::source_location place = std::source_location::current()) {
    add(place, std::forward<Fn>(fn));
  }
  // Runs an awaitable as a child.
  template <awaitable A>
  void spawn(A a, std::source_location place = std::source_location::current()) {
    add(place, [](A&& kept) { return std::move(kept); }, std::move(a));
  }

  // Cancels the body and all children, those that are spawned later included. Resumes nothing.
  void cancel() noexcept { cancel_all(cancel_cause::requested); }
  bool cancelled() const noexcept { return cancelled_; }

  // The failures so far, in the order in which they happened.
  const std::vector<std::exception_ptr>& failures() const noexcept { return failures_; }

  // The number of children that have not been reaped: a child that has ended counts until the
  // scope's next turn.
  std::size_t size() const noexcept { return size_; }

 protected:
  scope() noexcept : reaper_(*this) {}
  // Destroys the remaining children, the latest first.
  ~scope() { destroy_children(); }

  void open(reactor& r, const context* from) noexcept {
    reactor_ = &r;
    from_ = from;
  }
  reactor& in_reactor() const noexcept { return *reactor_; }
  // Places a branch in the scope, and cancels it if the scope is cancelled.
  void bind(branch_base& b) const noexcept;
  void cancel_all(cancel_cause cause) noexcept;
  // Reserves room for one more failure, so that note_failure() cannot fail. Throws std::bad_alloc.
  void expect_failure();
  void note_failure(std::exception_ptr failure) noexcept;
  void destroy_children() noexcept;
  // Returns the next suspended child's context after `previous` (null: the first one), or null.
  // Children come in the reverse order of their spawning.
  context* next_standing(const context* previous) const noexcept;
  bool any_child_cancelled() const noexcept { return any_child_cancelled_; }
  // Forgets how the scope ended, so that it can be used again.
  void reset() noexcept;

 private:
  class child : private branch_owner {
   public:
    explicit child(scope& s) noexcept : scope_(s) {}
    child(const child&) = delete;
    child& operator=(const child&) = delete;
    virtual ~child() = default;
    static void* operator new(std::size_t size) { return frame_recycler::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept {
      frame_recycler::release(block, size);
    }

    // Returns the child whose branch `c` is.
    static const child& of(const context& c) noexcept {
      return static_cast<const child&>(static_cast<const branch_base&>(c).holder());
    }

    virtual branch_base& as_branch() noexcept = 0;
    virtual void start() noexcept = 0;
    virtual std::exception_ptr failure() noexcept = 0;

    child* newer = nullptr;
    child* older = nullptr;

   protected:
    branch_owner& as_holder() noexcept { return *this; }

   private:
    void branch_done(branch_base&) noexcept override { scope_.child_done(*this); }
    scope& scope_;
  };

  template <class Fn, class... Args>
  class record final : public child {
    using source = std::invoke_result_t<Fn, Args...>;
    static_assert(awaitable<source>, "kedge: spawn() takes a callable that gives an awaitable");

   public:
    template <class F, class... A>
    explicit record(scope& s, F&& fn, A&&... args)
        : child(s),
          fn_(std::forward<F>(fn)),
          args_(std::forward<A>(args)...),
          branch_(std::apply(
                      [this](Args&... a) { return std::invoke(std::move(fn_), std::move(a)...); },
                      args_),
                  this->as_holder()) {}

    branch_base& as_branch() noexcept override { return branch_; }
    void start() noexcept override { branch_.start(); }
    std::exception_ptr failure() noexcept override {
      try {
        static_cast<void>(branch_.result());
      } catch (...) {
        return std::current_exception();
      }
      return nullptr;
    }

   private:
    Fn fn_;
    std::tuple<Args...> args_;
    branch<operation_of<source>> branch_;
  };

  // Deletes the ended children at its own turn: a child's end is reported from within its
  // coroutine, which cannot be destroyed there.
  class reaper final : public waiter {
   public:
    explicit reaper(scope& s) noexcept : waiter(nullptr, nullptr), scope_(s) {}
    std::coroutine_handle<> proceed() noexcept override;
    void withdraw() noexcept override {}
    context* next_branch(const context*) const noexcept override { return nullptr; }
    void describe(description&) const noexcept override {}

   private:
    scope& scope_;
  };

  template <class Fn, class... Args>
  void add(std::source_location place, Fn&& fn, Args&&... args) {
    std::unique_ptr<child> c(new record<std::decay_t<Fn>, std::decay_t<Args>...>(
        *this, std::forward<Fn>(fn), std::forward<Args>(args)...));
    c->as_branch().set_origin("child", place);
    expect_failure();  // only here, since fn may have spawned too
    adopt(*c.release());
  }
  void adopt(child& c) noexcept;
  void child_done(child& c) noexcept;
  void unlink(child& c) noexcept;
  void reap() noexcept;

  virtual void all_children_done() noexcept = 0;
  virtual void cancel_body(cancel_cause) noexcept {}

  reactor* reactor_ = nullptr;
  const context* from_ = nullptr;
  child* newest_ = nullptr;
  child* ended_ = nullptr;  // the children to delete, linked by `newer`
  std::size_t size_ = 0;
  reaper reaper_;
  std::vector<std::exception_ptr> failures_;
  bool cancelled_ = false;
  bool any_child_cancelled_ = false;
  cancel_cause cause_ = cancel_cause::requested;
};

}  // namespace kedge
