// frame_recycler: one list of free blocks per size class and thread.
#include "kedge/runtime/awaiting/frame_recycler.h"

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

// Without a constructor or destructor, so that an access costs no check.
constinit thread_local std::array<size_class, classes> kept_blocks{};
enum class keeping : unsigned char { not_yet, yes, over };
constinit thread_local keeping state = keeping::not_yet;

// Frees the blocks when the thread ends. Destructors of other thread-locals may release frames even
// after that.
struct at_thread_end {
  at_thread_end() noexcept { state = keeping::yes; }
  at_thread_end(const at_thread_end&) = delete;
  at_thread_end& operator=(const at_thread_end&) = delete;
  ~at_thread_end() {
    state = keeping::over;
    for (std::size_t i = 0; i < classes; ++i) {
      while (block* b = kept_blocks[i].first) {
        ASAN_UNPOISON_MEMORY_REGION(b, (i + 1) * granule);
        kept_blocks[i].first = b->next;
        ::operator delete(b);
      }
    }
  }
};

bool may_keep() noexcept {
  if (state == keeping::not_yet) {
    thread_local const at_thread_end cleaner;
    static_cast<void>(cleaner);
  }
  return state == keeping::yes;
}

std::size_t class_of(std::size_t size) noexcept {
  return (size - 1) / granule;
}

}  // namespace

void* frame_recycler::allocate(std::size_t size) {
  const std::size_t index = class_of(size);
  if (index >= classes) return ::operator new(size);
  size_class& kept = kept_blocks[index];
  if (kept.first == nullptr) return ::operator new((index + 1) * granule);
  block* b = kept.first;
  ASAN_UNPOISON_MEMORY_REGION(b, (index + 1) * granule);
  kept.first = b->next;
  --kept.count;
  return b;
}

void frame_recycler::release(void* memory, std::size_t size) noexcept {
  const std::size_t index = class_of(size);
  if (index >= classes || !may_keep() || kept_blocks[index].count == kept_per_class) {
    ::operator delete(memory);
    return;
  }
  size_class& kept = kept_blocks[index];
  block* b = static_cast<block*>(memory);
  b->next = kept.first;
  kept.first = b;
  ++kept.count;
  ASAN_POISON_MEMORY_REGION(b, (index + 1) * granule);
}

}  // namespace kedge
