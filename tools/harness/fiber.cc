// Implements fiber: the switch between two stacks, and what the sanitizers have to be told of it.
#include "kedge/tools/harness/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <vector>

#include "kedge/tools/harness/sanitizers.h"

#if defined(KEDGE_HARNESS_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(KEDGE_HARNESS_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

extern "C" {
// Saves what a call must keep, stores the stack pointer in *from, and goes on at the stack pointer
// `to`, which an earlier switch has stored or fiber() has prepared.
void kedge_harness_switch(void** from, void* to) noexcept;
}

#if defined(__x86_64__)
// System V ABI: rbx, rbp, r12 to r15, and the control words of the floating point units.
asm(R"(
.text
.globl kedge_harness_switch
.type kedge_harness_switch, @function
kedge_harness_switch:
  .cfi_startproc
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  subq $8, %rsp
  stmxcsr (%rsp)
  fnstcw 4(%rsp)
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  ldmxcsr (%rsp)
  fldcw 4(%rsp)
  addq $8, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .cfi_endproc
.size kedge_harness_switch, .-kedge_harness_switch
)");
#elif defined(__aarch64__) && !defined(__APPLE__)
// AAPCS64: x19 to x30, and the lower halves of v8 to v15.
asm(R"(
.text
.globl kedge_harness_switch
.type kedge_harness_switch, %function
kedge_harness_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size kedge_harness_switch, .-kedge_harness_switch
)");
#else
// A world refuses to be made where there is no switch.
void kedge_harness_switch(void**, void*) noexcept {}
#endif

namespace kedge::harness {
namespace {

// The fiber that runs on this thread.
constinit thread_local fiber* running = nullptr;

// Unused stacks. Each has a page below it that faults.
struct stack_pool {
  std::vector<std::byte*> unused;
  ~stack_pool() {
    for (std::byte* each : unused) unmap(each);
  }
  static std::size_t guard_size() noexcept {
    return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  }
  static void unmap(std::byte* stack) noexcept {
    ::munmap(stack - guard_size(), fiber::stack_size + guard_size());
  }
};
thread_local stack_pool pool;

std::byte* take_stack() {
  // The lowest one, so that the n-th of a world has the same stack in every world.
  if (const auto first = std::ranges::min_element(pool.unused); first != pool.unused.end()) {
    std::byte* const taken = *first;
    pool.unused.erase(first);
    return taken;
  }
  const std::size_t guard = stack_pool::guard_size();
  // At a fixed place if it is free, so that it is the same in every run of the program.
  static constinit std::atomic<std::uintptr_t> next{0x1400'0000'0000};
  void* const wanted = reinterpret_cast<void*>(next.fetch_add(2 * fiber::stack_size));
  void* const at = ::mmap(wanted, fiber::stack_size + guard, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANON, -1, 0);
  if (at == MAP_FAILED) throw std::system_error(errno, std::system_category(), "a fiber's stack");
  ::mprotect(at, guard, PROT_NONE);
  return static_cast<std::byte*>(at) + guard;
}

// What kedge_harness_switch() takes off the stack before it returns to `start`.
void* prepare(std::byte* stack, void (*start)() noexcept) noexcept {
  auto* top = reinterpret_cast<std::uintptr_t*>(stack + fiber::stack_size);
#if defined(__x86_64__)
  *--top = 0;  // where `start` would return to: the end of the stack, for unwinders
  *--top = reinterpret_cast<std::uintptr_t>(start);
  for (int i = 0; i < 6; ++i) *--top = 0;
  *--top = std::uintptr_t{0x037f} << 32 | 0x1f80;  // the defaults of x87 and SSE
#else
  constexpr int saved = 20;
  constexpr int link_register = 11;
  for (int i = 0; i < saved; ++i) *--top = 0;
  top[link_register] = reinterpret_cast<std::uintptr_t>(start);
#endif
  return top;
}

}  // namespace

fiber::fiber(void (*run)(void*), void* argument)
    : run_(run), argument_(argument), stack_(take_stack()), inside_(prepare(stack_, enter)) {
#if defined(KEDGE_HARNESS_ASAN)
  __asan_unpoison_memory_region(stack_, stack_size);
#endif
#if defined(KEDGE_HARNESS_TSAN)
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
}

fiber::~fiber() {
#if defined(KEDGE_HARNESS_TSAN)
  __tsan_destroy_fiber(tsan_fiber_);
#endif
#if defined(KEDGE_HARNESS_ASAN)
  __asan_unpoison_memory_region(stack_, stack_size);
#endif
  try {
    pool.unused.push_back(stack_);
  } catch (const std::bad_alloc&) {
    stack_pool::unmap(stack_);
  }
}

void fiber::enter() noexcept {
  fiber* const self = running;
#if defined(KEDGE_HARNESS_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &self->outer_stack_, &self->outer_size_);
#endif
  self->run_(self->argument_);
}

void fiber::resume() noexcept {
  fiber* const outer = running;
  running = this;
#if defined(KEDGE_HARNESS_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, stack_, stack_size);
#endif
#if defined(KEDGE_HARNESS_TSAN)
  tsan_outside_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_fiber_, 0);
#endif
  kedge_harness_switch(&outside_, inside_);
#if defined(KEDGE_HARNESS_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  running = outer;
}

void fiber::hand_over() noexcept {
#if defined(KEDGE_HARNESS_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, outer_stack_, outer_size_);
#endif
#if defined(KEDGE_HARNESS_TSAN)
  __tsan_switch_to_fiber(tsan_outside_, 0);
#endif
  kedge_harness_switch(&inside_, outside_);
#if defined(KEDGE_HARNESS_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, &outer_stack_, &outer_size_);
#endif
}

void fiber::finish() noexcept {
#if defined(KEDGE_HARNESS_ASAN)
  __sanitizer_start_switch_fiber(nullptr, outer_stack_, outer_size_);
#endif
#if defined(KEDGE_HARNESS_TSAN)
  __tsan_switch_to_fiber(tsan_outside_, 0);
#endif
  kedge_harness_switch(&inside_, outside_);
  __builtin_unreachable();
}

bool fiber::holds(const void* address) const noexcept {
  const auto* const at = static_cast<const std::byte*>(address);
  return at >= stack_ && at < stack_ + stack_size;
}

}  // namespace kedge::harness
