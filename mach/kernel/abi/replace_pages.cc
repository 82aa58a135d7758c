// Implements replace_by_file() by two system calls with nothing between them.
#include "kedge/mach/kernel/abi/replace_pages.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace kedge::mach::kernel::address_space {
namespace {

// Linux writes less than 2 GiB at once.
constexpr std::uint64_t most_at_once = std::uint64_t{1} << 30;

// pwrite(fd, at, size, offset), and if that has written everything, mmap(at, size, protection,
// MAP_SHARED | MAP_FIXED, fd, offset). Returns the result of the last call, as Linux does: an errno
// is negative. The pages may hold the stack, so all state is in registers, where a compiler may not
// keep it between two calls of its own.
#if defined(__x86_64__)
long copy_and_map(user_address at, std::uint64_t size, long fd, long protection,
                  std::uint64_t offset) noexcept {
  long result = SYS_pwrite64;
  register std::uint64_t offset_or_flags asm("r10") = offset;
  register long file asm("r8") = fd;
  register std::uint64_t same_offset asm("r9") = offset;
  asm volatile(
      "syscall\n\t"
      "cmpq %%rdx, %%rax\n\t"
      "jne 1f\n\t"
      "movq %%rsi, %%rdi\n\t"
      "movq %%rdx, %%rsi\n\t"
      "movq %[protection], %%rdx\n\t"
      "movq %[flags], %%r10\n\t"
      "movq %[map], %%rax\n\t"
      "syscall\n"
      "1:"
      : "+a"(result), "+D"(fd), "+S"(at), "+d"(size), "+r"(offset_or_flags)
      : "r"(file), "r"(same_offset), [protection] "b"(protection), [map] "i"(SYS_mmap),
        [flags] "i"(MAP_SHARED | MAP_FIXED)
      : "rcx", "r11", "cc", "memory");
  return result;
}
#elif defined(__aarch64__)
long copy_and_map(user_address at, std::uint64_t size, long fd, long protection,
                  std::uint64_t offset) noexcept {
  register long result asm("x0") = fd;
  register user_address start asm("x1") = at;
  register std::uint64_t length asm("x2") = size;
  register std::uint64_t offset_or_flags asm("x3") = offset;
  register long file asm("x4") = fd;
  register std::uint64_t same_offset asm("x5") = offset;
  register long number asm("x8") = SYS_pwrite64;
  register long access asm("x9") = protection;
  asm volatile(
      "svc #0\n\t"
      "cmp x0, x2\n\t"
      "b.ne 1f\n\t"
      "mov x0, x1\n\t"
      "mov x1, x2\n\t"
      "mov x2, x9\n\t"
      "mov x3, %[flags]\n\t"
      "mov x8, %[map]\n\t"
      "svc #0\n"
      "1:"
      : "+r"(result), "+r"(start), "+r"(length), "+r"(offset_or_flags), "+r"(number)
      : "r"(file), "r"(same_offset),
        "r"(access), [map] "i"(SYS_mmap), [flags] "i"(MAP_SHARED | MAP_FIXED)
      : "cc", "memory");
  return result;
}
#else
#error "replace_by_file() is written for x86-64 and arm64."
#endif

// Blocks all signals, also those that the C library keeps for itself.
class no_signals {
 public:
  no_signals() noexcept {
    sigset_t all;
    sigfillset(&all);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before_, kernel_size);
  }
  ~no_signals() { syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before_, nullptr, kernel_size); }
  no_signals(const no_signals&) = delete;
  no_signals& operator=(const no_signals&) = delete;

 private:
  static constexpr std::size_t kernel_size = 8;  // bytes, of a set of 64 signals
  sigset_t before_;
};

}  // namespace

int replace_by_file(user_address at, std::uint64_t size, int fd, int protection) noexcept {
  const no_signals blocked;
  for (std::uint64_t done = 0; done < size; done += most_at_once) {
    const std::uint64_t part = std::min(size - done, most_at_once);
    const long result = copy_and_map(at + done, part, fd, protection, done);
    if (result == static_cast<long>(at + done)) continue;
    // A short write: what follows cannot be read.
    return result < 0 ? static_cast<int>(-result) : EFAULT;
  }
  return 0;
}

}  // namespace kedge::mach::kernel::address_space
