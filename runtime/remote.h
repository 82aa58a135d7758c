// remote: the handle by which other threads reach a loop.
//
//     std::jthread([to = loop.get_remote()] { to.post([] { ... }); });
//
// Copyable, and safe to keep when the loop is gone. Everything else of a loop belongs to its
// thread.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace kedge {

class reactor;

class remote {
 public:
  // Runs fn() on the loop's thread, in the order of the posts of one thread. False, and fn is
  // dropped here, if the loop is gone; a loop that is destroyed drops what it has not run. fn must
  // not throw (std::terminate). Any thread; costs no system call while the loop is awake, one while
  // it sleeps. Throws std::bad_alloc.
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
