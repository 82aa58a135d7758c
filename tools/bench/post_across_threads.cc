#include <atomic>
#include <cstdint>
#include <thread>
#include <utility>

#include "benchmark.h"
#include "kedge/runtime/remote.h"
#include "kedge/runtime/yield.h"
#include "pinned_thread.h"

// The least that a post can be: a lock-free list of allocated nodes, which the other thread takes
// as a whole.
void queue_across_threads(std::uint64_t n) {
  struct node {
    node* next;
    std::uint64_t* count;
  };
  std::atomic<node*> newest{nullptr};
  std::uint64_t done = 0;
  std::thread poster = pinned_thread(1, [&] {
    for (std::uint64_t i = 0; i < n; ++i) {
      auto* const made = new node{newest.load(std::memory_order_relaxed), &done};
      while (!newest.compare_exchange_weak(made->next, made, std::memory_order_release,
                                           std::memory_order_relaxed)) {
      }
    }
  });
  while (done < n) {
    node* in_order = nullptr;
    for (node* at = newest.exchange(nullptr, std::memory_order_acquire); at != nullptr;) {
      node* const older = std::exchange(at->next, in_order);
      in_order = std::exchange(at, older);
    }
    while (in_order != nullptr) {
      ++*in_order->count;
      delete std::exchange(in_order, in_order->next);
    }
  }
  poster.join();
}

kedge::task<> post_across_threads(kedge::loop& loop, std::uint64_t n) {
  std::uint64_t done = 0;
  std::thread poster = pinned_thread(1, [&, to = loop.get_remote()] {
    for (std::uint64_t i = 0; i < n; ++i) to.post([&done] { ++done; });
  });
  while (done < n) co_await kedge::yield();  // so that the loop stays awake
  poster.join();
}
