#include "kedge/runtime/frame_recycler.h"

#include <array>
#include <new>

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

constexpr std::size_t granule = 64;
constexpr std::size_t classes = 32;  // blocks of up to 2 KiB are kept
constexpr unsigned kept_per_class = 1024;

struct block {
  block* next;
};

struct size_class {
  block* first = nullptr;
  unsigned count = 0;
};

struct cache {
  std::array<size_class, classes> by_size;
  ~cache();
};

thread_local cache blocks;
// Frames may be released after the thread's cache is gone (by destructors of other thread-locals).
thread_local bool cache_gone = false;

cache::~cache() {
  cache_gone = true;
  for (std::size_t i = 0; i < classes; ++i) {
    while (block* b = by_size[i].first) {
      ASAN_UNPOISON_MEMORY_REGION(b, (i + 1) * granule);
      by_size[i].first = b->next;
      ::operator delete(b);
    }
  }
}

std::size_t class_of(std::size_t size) noexcept { return (size - 1) / granule; }

}  // namespace

void* frame_recycler::allocate(std::size_t size) {
  const std::size_t index = class_of(size);
  if (index >= classes) return ::operator new(size);
  size_class& kept = blocks.by_size[index];
  if (kept.first == nullptr) return ::operator new((index + 1) * granule);
  block* b = kept.first;
  ASAN_UNPOISON_MEMORY_REGION(b, (index + 1) * granule);
  kept.first = b->next;
  --kept.count;
  return b;
}

void frame_recycler::release(void* memory, std::size_t size) noexcept {
  const std::size_t index = class_of(size);
  if (index >= classes || cache_gone || blocks.by_size[index].count == kept_per_class) {
    ::operator delete(memory);
    return;
  }
  size_class& kept = blocks.by_size[index];
  block* b = static_cast<block*>(memory);
  b->next = kept.first;
  kept.first = b;
  ++kept.count;
  ASAN_POISON_MEMORY_REGION(b, (index + 1) * granule);
}

}  // namespace kedge
