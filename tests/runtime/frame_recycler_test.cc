#include "kedge/runtime/awaiting/frame_recycler.h"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "counted_new.h"

namespace {

using kedge::allocated;
using kedge::frame_recycler;
using kedge::freed;

TEST_CASE("a released block is the next one that is allocated of its size") {
  void* const a = frame_recycler::allocate(200);
  std::memset(a, 1, 200);
  frame_recycler::release(a, 200);
  const long before = allocated;
  void* const b = frame_recycler::allocate(200);
  CHECK(a == b);
  CHECK(allocated == before);
  frame_recycler::release(b, 200);
}

TEST_CASE("blocks of every size are aligned and do not overlap") {
  std::vector<std::pair<unsigned char*, std::size_t>> blocks;
  for (std::size_t size = 1; size < 5000; size += 7) {
    CAPTURE(size);
    auto* const b = static_cast<unsigned char*>(frame_recycler::allocate(size));
    CHECK(reinterpret_cast<std::uintptr_t>(b) % alignof(std::max_align_t) == 0);
    std::memset(b, static_cast<int>(size % 251), size);
    blocks.emplace_back(b, size);
  }
  for (const auto& [b, size] : blocks) {
    CAPTURE(size);
    bool intact = true;
    for (std::size_t i = 0; i < size; ++i) intact &= b[i] == size % 251;
    CHECK(intact);
    frame_recycler::release(b, size);
  }
}

TEST_CASE("of 10,000 released blocks a bounded number is kept") {
  std::vector<void*> blocks;
  for (int i = 0; i < 10'000; ++i) blocks.push_back(frame_recycler::allocate(300));
  const long before = freed;
  for (void* b : blocks) frame_recycler::release(b, 300);
  if (!kedge::counts_allocations) return;
  CHECK(freed - before > 8'000);
  CHECK(freed - before < 10'000);
}

TEST_CASE("a released block of 1 MiB is freed") {
  void* const a = frame_recycler::allocate(1 << 20);
  const long before = freed;
  frame_recycler::release(a, 1 << 20);
  CHECK(freed - before == (kedge::counts_allocations ? 1 : 0));
}

TEST_CASE("a thread that releases another thread's blocks keeps them for itself") {
  std::vector<void*> blocks;
  for (int i = 0; i < 100; ++i) blocks.push_back(frame_recycler::allocate(128));
  long kept_by_the_other = -1;
  std::thread other([&] {
    for (void* b : blocks) {
      std::memset(b, 2, 128);
      frame_recycler::release(b, 128);
    }
    const long before = allocated;
    void* const again = frame_recycler::allocate(128);
    kept_by_the_other = allocated - before;
    frame_recycler::release(again, 128);
  });
  other.join();
  CHECK(kept_by_the_other == 0);
}

// Releases its block when the thread ends, and stores how many blocks that freed.
struct at_thread_exit {
  void* block = nullptr;
  long* freed_by_release = nullptr;
  ~at_thread_exit() {
    if (block == nullptr) return;
    const long before = freed;
    frame_recycler::release(block, 64);
    *freed_by_release = freed - before;
  }
};
thread_local at_thread_exit late;

TEST_CASE("a block released after the thread's cache was destroyed is freed") {
  long freed_by_release = -1;
  std::thread([&] {
    // Constructed before the cache, which the first release makes, and so destroyed after it.
    late.freed_by_release = &freed_by_release;
    frame_recycler::release(frame_recycler::allocate(64), 64);
    late.block = frame_recycler::allocate(64);
  }).join();
  CHECK(freed_by_release == (kedge::counts_allocations ? 1 : 0));
}

}  // namespace
