// remote: a handle with which other threads post work to a loop.
//
//     std::jthread([to = loop.get_remote()] { to.post([] { ... }); });
//
// Threads: any thread may copy, use and drop a remote. Every other part of a loop belongs to the
// loop's thread. A remote may outlive its loop. After a fork the child's posts are refused: the
// loop belongs to the parent.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "kedge/runtime/awaiting/frame_recycler.h"

namespace kedge {

class reactor;

class remote {
 public:
  class mailbox;

  // Work in memory of the caller's own, for posts that must not allocate. The poster keeps it alive
  // and does not post it again until the loop calls one of these functions, and the loop does not
  // touch it after that call has begun: both may destroy it.
  class work {
   public:
    work(const work&) = delete;
    work& operator=(const work&) = delete;
    // The loop runs the work. On the loop's thread.
    virtual void run() noexcept = 0;
    // The loop is destroyed before it has run the work. On the thread that destroys the loop.
    virtual void drop() noexcept = 0;

   protected:
    work() = default;
    ~work() = default;

   private:
    friend class mailbox;
    work* next_ = nullptr;
  };

  // Runs fn() on the loop's thread. Calls from one thread run in their order. Returns false, and
  // destroys fn in the caller, if the loop is gone or belongs to the parent of a forked child. A
  // loop that is destroyed destroys the callables that it has not run. fn must not throw
  // (std::terminate). Costs no system call while the loop is awake, and one while it sleeps; one
  // allocation, and none in the steady state of a loop's own thread. Throws std::bad_alloc.
  template <class Fn>
    requires(!std::derived_from<std::remove_cvref_t<Fn>, work>)
  bool post(Fn&& fn) const {
    using stored = std::decay_t<Fn>;
    static_assert(std::is_invocable_v<stored&>, "kedge: post() takes a callable without arguments");
    auto* const made = new call<stored>(std::in_place, std::forward<Fn>(fn));
    if (enqueue(*made)) return true;
    made->drop();
    return false;
  }
  // Posts `w`. Returns false if the loop is gone, or belongs to the parent: `w` stays the caller's,
  // and neither of its functions is called.
  bool post(work& w) const noexcept { return enqueue(w); }

 private:
  friend class reactor;
  friend class weak_remote;

  // Memory of the thread's recycler. Blocks of the recycler have the default alignment.
  struct recycled : work {
    static void* operator new(std::size_t size) { return frame_recycler::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept {
      frame_recycler::release(block, size);
    }
  };
  template <class Fn>
  using call_base =
      std::conditional_t<alignof(Fn) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__, recycled, work>;

  template <class Fn>
  struct call final : call_base<Fn> {
    template <class From>
    call(std::in_place_t, From&& f) : fn(std::forward<From>(f)) {}
    void run() noexcept override {
      fn();
      delete this;
    }
    void drop() noexcept override { delete this; }
    Fn fn;
  };

  explicit remote(std::shared_ptr<mailbox> box) noexcept : box_(std::move(box)) {}
  bool enqueue(work& w) const noexcept;

  std::shared_ptr<mailbox> box_;
};

// Posts work as a remote does, and is not counted as one: a loop that nothing else can wake reports
// a deadlock although weak remotes exist. For what has nothing to tell but the loop's own business,
// such as the end of an object that it uses.
class weak_remote {
 public:
  explicit weak_remote(const remote& of) noexcept : box_(of.box_) {}

  // As remote::post().
  bool post(remote::work& w) const noexcept {
    const std::shared_ptr<remote::mailbox> box = box_.lock();
    return box != nullptr && remote(box).post(w);
  }

 private:
  std::weak_ptr<remote::mailbox> box_;
};

}  // namespace kedge
