// remote: a handle with which other threads post work to a loop.
//
//     std::jthread([to = loop.get_remote()] { to.post([] { ... }); });
//
// Threads: any thread may copy, use and drop a remote. Every other part of a loop belongs to the
// loop's thread. A remote may outlive its loop.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace kedge {

class reactor;

class remote {
 public:
  // Runs fn() on the loop's thread. Calls from one thread run in their order. Returns false, and
  // destroys fn in the caller, if the loop is gone. A loop that is destroyed destroys the callables
  // that it has not run. fn must not throw (std::terminate). Costs no system call while the loop is
  // awake, and one while it sleeps. Throws std::bad_alloc.
  template <class Fn>
  bool post(Fn&& fn) const {
    using stored = std::decay_t<Fn>;
    static_assert(std::is_invocable_v<stored&>, "kedge: post() takes a callable without arguments");
    struct call final : posted {
      explicit call(Fn&& f) : fn(std::forward<Fn>(f)) {}
      void run() noexcept override { fn(); }
      stored fn;
    };
    return enqueue(std::make_unique<call>(std::forward<Fn>(fn)));
  }

 private:
  friend class reactor;
  // A callable in the mailbox's list. Each owns the next, so a list is dropped in a loop.
  struct posted {
    posted() = default;
    posted(const posted&) = delete;
    posted& operator=(const posted&) = delete;
    virtual ~posted() = default;
    virtual void run() noexcept = 0;
    std::unique_ptr<posted> next;
  };
  class mailbox;

  explicit remote(std::shared_ptr<mailbox> box) noexcept : box_(std::move(box)) {}
  bool enqueue(std::unique_ptr<posted> work) const;

  std::shared_ptr<mailbox> box_;
};

}  // namespace kedge
