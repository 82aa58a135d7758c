#include "kedge/runtime/awaiting/frame_recycler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "counted_new.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"

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

TEST_CASE("sizes within 16 bytes of each other share blocks, and others do not") {
  void* const a = frame_recycler::allocate(17);
  frame_recycler::release(a, 17);
  void* const smaller = frame_recycler::allocate(16);
  void* const larger = frame_recycler::allocate(33);
  CHECK(smaller != a);
  CHECK(larger != a);
  void* const same = frame_recycler::allocate(32);
  CHECK(same == a);
  frame_recycler::release(smaller, 16);
  frame_recycler::release(larger, 33);
  frame_recycler::release(same, 32);
}

TEST_CASE("of 10,000 released blocks a thread keeps 1 MiB, and another thread takes the others") {
  constexpr int count = 10'000;
  constexpr std::size_t size = 304;
  constexpr int most_kept = (1 << 20) / size;
  // In threads of their own, whose caches are empty.
  std::thread([] {
    std::vector<void*> blocks;
    for (int i = 0; i < count; ++i) blocks.push_back(frame_recycler::allocate(size));
    for (void* b : blocks) frame_recycler::release(b, size);
    std::thread([&] {
      std::vector<void*> taken;
      taken.reserve(count);
      const long before = allocated;
      for (int i = 0; i < count - most_kept; ++i) taken.push_back(frame_recycler::allocate(size));
      CHECK(allocated == before);
      for (void* b : taken) frame_recycler::release(b, size);
    }).join();
  }).join();
}

TEST_CASE("10,000 blocks are cut from slabs, with less than one allocation for 100 of them") {
  std::vector<void*> blocks;
  blocks.reserve(10'000);
  const long before = allocated;
  for (int i = 0; i < 10'000; ++i) blocks.push_back(frame_recycler::allocate(400));
  CHECK(allocated - before < 100);
  for (void* b : blocks) frame_recycler::release(b, 400);
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

TEST_CASE("the blocks that a thread has kept go to other threads when it ends") {
  void* block = nullptr;
  std::thread([&] {
    block = frame_recycler::allocate(1504);
    frame_recycler::release(block, 1504);
  }).join();
  void* again = nullptr;
  std::thread([&] {
    again = frame_recycler::allocate(1504);
    frame_recycler::release(again, 1504);
  }).join();
  CHECK(again == block);
}

// Releases its block when the thread ends.
struct at_thread_exit {
  void* block = nullptr;
  ~at_thread_exit() {
    if (block != nullptr) frame_recycler::release(block, 64);
  }
};
thread_local at_thread_exit late;

TEST_CASE("a block released after the thread's cache was destroyed goes to other threads") {
  void* block = nullptr;
  std::thread([&] {
    // Constructed before the cache, which the first release makes, and so destroyed after it.
    late.block = nullptr;
    frame_recycler::release(frame_recycler::allocate(64), 64);
    late.block = block = frame_recycler::allocate(64);
  }).join();
  void* again = nullptr;
  std::thread([&] {
    again = frame_recycler::allocate(64);
    frame_recycler::release(again, 64);
  }).join();
  CHECK(again == block);
}

class counting_resource final : public kedge::frame_resource {
 public:
  void* allocate(std::size_t size) override {
    if (left == 0) throw std::bad_alloc();
    --left;
    ++live;
    sizes.push_back(size);
    return ::operator new(size);
  }
  void release(void* block, std::size_t size) noexcept override {
    --live;
    released_other_size |= std::find(sizes.begin(), sizes.end(), size) == sizes.end();
    ::operator delete(block);
  }
  int left = 1'000'000;
  int live = 0;
  bool released_other_size = false;
  std::vector<std::size_t> sizes;
};

TEST_CASE("use() makes a thread take its blocks from a resource, until use(nullptr)") {
  counting_resource own;
  std::thread([&] {
    frame_recycler::release(frame_recycler::allocate(64), 64);
    frame_recycler::use(&own);
    void* const small = frame_recycler::allocate(64);
    void* const large = frame_recycler::allocate(1 << 20);
    CHECK(own.sizes == std::vector<std::size_t>{64, 1 << 20});
    frame_recycler::release(small, 64);
    frame_recycler::release(large, 1 << 20);
    CHECK(own.live == 0);
    frame_recycler::use(nullptr);
    frame_recycler::release(frame_recycler::allocate(64), 64);
    CHECK(own.sizes.size() == 2);
  }).join();
}

TEST_CASE("a resource that has no memory makes calling a coroutine throw, and nothing leaks") {
  counting_resource own;
  std::thread([&] {
    frame_recycler::use(&own);
    const auto inner = [](int n) -> kedge::task<int> { co_return n; };
    const auto outer = [&]() -> kedge::task<int> {
      co_return co_await inner(1) + co_await inner(2);
    };
    for (int most = 0; most < 4; ++most) {
      CAPTURE(most);
      kedge::loop l;
      own.left = most;
      bool thrown = false;
      try {
        CHECK(l.run(outer()) == 3);
      } catch (const std::bad_alloc&) {
        thrown = true;
      }
      CHECK(thrown == (most < 3));
      CHECK(own.live == 0);
      CHECK_FALSE(own.released_other_size);
    }
    frame_recycler::use(nullptr);
  }).join();
}

}  // namespace
