// frame_recycler: a cache of free blocks per thread, and the pool of the process behind them.
#include "kedge/runtime/awaiting/frame_recycler.h"

#include <pthread.h>

#include <array>
#include <mutex>
#include <new>
#include <utility>

#include "kedge/runtime/reactor/allocation_check.h"

#if defined(__SANITIZE_ADDRESS__)
#define KEDGE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEDGE_ASAN 1
#endif
#endif
#ifdef KEDGE_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(block, size) static_cast<void>(block)
#define ASAN_UNPOISON_MEMORY_REGION(block, size) static_cast<void>(block)
#endif

namespace kedge {
namespace {

constexpr std::size_t slab_bytes = 64 * 1024;
#ifdef KEDGE_ASAN
constexpr std::ptrdiff_t most_kept = 0;  // released blocks are poisoned, in the pool
#else
constexpr std::ptrdiff_t most_kept = 1024 * 1024;
#endif

enum class keeping : unsigned char { not_yet, yes, over };
constinit thread_local keeping state = keeping::not_yet;

}  // namespace

constinit thread_local frame_recycler::cache frame_recycler::of_thread{};
constinit thread_local frame_resource* frame_recycler::resource = nullptr;

// Returns whether allocations may be served from the thread's cache.
bool frame_recycler::recycles() noexcept {
  return resource == nullptr && !allocation_check::is_on();
}

// The blocks that no thread keeps, and the slab that is being cut. Never destroyed: threads may end
// after the destructors of statics.
struct frame_recycler::pool {
  std::mutex mutex;
  // Chains of blocks, as threads have released them, by class.
  struct chain : block {
    chain* following;
  };
  static_assert(sizeof(chain) <= granule);
  std::array<chain*, classes> free{};
  // All slabs, linked by their first granules: a leak checker does not look into free blocks.
  block* slabs = nullptr;
  std::byte* slab = nullptr;
  std::size_t left = 0;

  static pool& instance() {
    static pool* const made = make();
    return *made;
  }

  // Returns a block of the class, or null if there is no memory.
  void* take(std::size_t index) noexcept {
    const std::lock_guard hold(mutex);
    if (chain* const first = free[index]) {
      ASAN_UNPOISON_MEMORY_REGION(first, (index + 1) * granule);
      free[index] = first->next == nullptr ? first->following : join(first->next, first->following);
      return first;
    }
    const std::size_t size = (index + 1) * granule;
    if (left < size && !add_slab()) return nullptr;
    left -= size;
    void* const cut = slab;
    slab += size;
    ASAN_UNPOISON_MEMORY_REGION(cut, size);
    return cut;
  }

  // Takes all blocks from `first` on, in constant time.
  void give(std::size_t index, block* first) noexcept {
    const std::lock_guard hold(mutex);
    free[index] = join(first, free[index]);
  }

 private:
  // A fork waits for the mutex, so that the child does not find it locked for ever.
  static pool* make() {
    pool* const made = new pool;
    pthread_atfork([] { instance().mutex.lock(); }, [] { instance().mutex.unlock(); },
                   [] { instance().mutex.unlock(); });
    return made;
  }

  // Makes the block `first`, with its successors, a chain before `following`.
  static chain* join(block* first, chain* following) noexcept {
    ASAN_UNPOISON_MEMORY_REGION(first, sizeof(chain));
    block* const next = first->next;
    auto* const made = new (static_cast<void*>(first)) chain{{next}, following};
    ASAN_POISON_MEMORY_REGION(made, sizeof(chain));
    return made;
  }

  // What is left of the slab before it, at most 2 KiB, becomes one block.
  bool add_slab() noexcept {
    void* const fresh = ::operator new(slab_bytes, std::nothrow);
    if (fresh == nullptr) return false;
    if (left != 0) {
      const std::size_t index = class_of(left);
      ASAN_UNPOISON_MEMORY_REGION(slab, left);
      block* const rest = new (static_cast<void*>(slab)) block{nullptr};
      ASAN_POISON_MEMORY_REGION(slab, left);
      free[index] = join(rest, free[index]);
    }
    slabs = new (fresh) block{slabs};
    slab = static_cast<std::byte*>(fresh) + granule;
    left = slab_bytes - granule;
    ASAN_POISON_MEMORY_REGION(slab, left);
    return true;
  }
};

// Gives the thread's blocks to the pool when the thread ends. Destructors of other thread-locals
// may release frames even after that.
struct frame_recycler::thread_end {
  thread_end() noexcept { state = keeping::yes; }
  thread_end(const thread_end&) = delete;
  thread_end& operator=(const thread_end&) = delete;
  ~thread_end() {
    state = keeping::over;
    of_thread.room = 0;
    empty_cache();
  }
};

// Returns whether the thread may keep blocks.
bool frame_recycler::open_cache() noexcept {
  if (state == keeping::not_yet) {
    thread_local const thread_end cleaner;
    static_cast<void>(cleaner);
    if (recycles()) of_thread.room = most_kept;
  }
  return state == keeping::yes;
}

void frame_recycler::empty_cache() noexcept {
  for (std::size_t i = 0; i < classes; ++i) {
    block* const first = of_thread.free[i];
    if (first == nullptr) continue;
    of_thread.free[i] = nullptr;
    pool::instance().give(i, first);
  }
}

void* frame_recycler::allocate_slowly(std::size_t size) {
  allocation_check::run();
  if (resource != nullptr) return resource->allocate(size);
  const std::size_t index = class_of(size);
  if (index >= classes) return ::operator new(size);
  void* const taken = pool::instance().take(index);
  if (taken == nullptr) throw std::bad_alloc();
  return taken;
}

void frame_recycler::release_slowly(void* memory, std::size_t size) noexcept {
  const std::size_t index = class_of(size);
  if (index < classes) of_thread.room += bytes_of(index);  // which release() has taken
  if (resource != nullptr) return resource->release(memory, size);
  if (index >= classes) return ::operator delete(memory);
  block* const b = new (memory) block{nullptr};
  if (most_kept != 0 && recycles() && open_cache()) {
    // Full: the pool gets all, so that the next ones are kept again.
    if (of_thread.room < bytes_of(index)) {
      empty_cache();
      of_thread.room = most_kept;
    }
    of_thread.room -= bytes_of(index);
    b->next = std::exchange(of_thread.free[index], b);
    return;
  }
  ASAN_POISON_MEMORY_REGION(b, (index + 1) * granule);
  pool::instance().give(index, b);
}

void frame_recycler::reopen_cache() noexcept {
  open_cache();
  empty_cache();
  of_thread.room = recycles() && state == keeping::yes ? most_kept : 0;
}

void frame_recycler::use(frame_resource* r) noexcept {
  resource = r;
  reopen_cache();
}

}  // namespace kedge
