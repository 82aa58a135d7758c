#include "kedge/runtime/kqueue/libc/own_process.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>

namespace kedge::kqueue {

constinit std::atomic<std::atomic<bool>*> own_process::mark_{nullptr};
constinit std::atomic<pid_t> own_process::pid_{0};

#if defined(KEDGE_DEFINES_VFORK)
constinit thread_local bool in_vfork_child = false;
#endif

#if defined(KEDGE_DEFINES_VFORK)
namespace {

// Returns a page that is zero in the child of a fork, or null (before Linux 4.14, or without
// memory).
void* make_wiped_page(std::size_t size) noexcept {
  void* const page =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return nullptr;
  if (madvise(page, size, MADV_WIPEONFORK) == 0) return page;
  munmap(page, size);
  return nullptr;
}

}  // namespace

// Returns the mark, which is made if need be, or null.
std::atomic<bool>* own_process::find_mark() noexcept {
  std::atomic<bool>* mark = mark_.load(std::memory_order_acquire);
  if (mark != nullptr) return mark;
  const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const page = make_wiped_page(size);
  if (page == nullptr) return nullptr;
  auto* const fresh = new (page) std::atomic<bool>(true);
  if (mark_.compare_exchange_strong(mark, fresh, std::memory_order_acq_rel)) return fresh;
  munmap(page, size);  // another thread was faster
  return mark;
}

#endif

void own_process::claim() noexcept {
#if defined(KEDGE_DEFINES_VFORK)
  const int error = errno;
  std::atomic<bool>* const mark = find_mark();
  errno = error;
  if (mark != nullptr) return mark->store(true, std::memory_order_relaxed);
#endif
  pid_.store(real_pid(), std::memory_order_relaxed);
}

void own_process::after_fork_in_child() noexcept {
#if defined(KEDGE_DEFINES_VFORK)
  in_vfork_child = false;
#endif
}

bool own_process::is_claimed_by_pid() noexcept {
  return real_pid() == pid_.load(std::memory_order_relaxed);
}

#if defined(KEDGE_DEFINES_VFORK)

namespace {

// Of an AddressSanitizer that the program may have: forgets what the child has poisoned of the
// stack.
extern "C" [[gnu::weak]] void __asan_handle_vfork(void* stack) noexcept;

// The rest of vfork() in the parent. `result`: of the system call. `before`: of in_vfork_child.
extern "C" [[gnu::used]] pid_t kedge_finish_vfork(long result, bool before) noexcept {
  in_vfork_child = before;
  if (&__asan_handle_vfork != nullptr) __asan_handle_vfork(__builtin_frame_address(0));
  if (result >= 0) return static_cast<pid_t>(result);
  errno = static_cast<int>(-result);
  return -1;
}

}  // namespace

#endif

}  // namespace kedge::kqueue

#if defined(KEDGE_DEFINES_VFORK)

// The child returns first, and uses the stack above this frame. So the return address is kept in a
// register, which each process has for itself, and is pushed again by both.
extern "C" [[gnu::naked, gnu::noinline]] pid_t vfork() noexcept {
  asm volatile(
      "movq _ZN5kedge6kqueue14in_vfork_childE@gottpoff(%rip), %rdx\n\t"
      "movzbl %fs:(%rdx), %esi\n\t"
      "popq %rdi\n\t"
      "movl $58, %eax\n\t"  // SYS_vfork
      "syscall\n\t"
      "pushq %rdi\n\t"
      "testq %rax, %rax\n\t"
      "jz 1f\n\t"
      "movq %rax, %rdi\n\t"
      "jmp kedge_finish_vfork\n"
      "1:\n\t"
      "movb $1, %fs:(%rdx)\n\t"
      "ret");
}

#endif
