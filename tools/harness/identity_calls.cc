// The random numbers, the pid and the environment of the C library. In a process they come from the
// world. Elsewhere they are the C library's own.
#if !defined(__APPLE__)

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <utility>
#include <vector>

#include "kedge/runtime/base/outside_heap.h"
#include "kedge/tools/harness/libc_call.h"
#include "kedge/tools/harness/world_state.h"

extern "C" {
// Functions of later C libraries.
std::uint32_t arc4random() noexcept;
void arc4random_buf(void* to, std::size_t size) noexcept;
std::uint32_t arc4random_uniform(std::uint32_t bound) noexcept;
[[gnu::weak]] decltype(::getrandom) __interceptor_getrandom;
[[gnu::weak]] decltype(::getentropy) __interceptor_getentropy;
[[gnu::weak]] decltype(::arc4random_buf) __interceptor_arc4random_buf;
[[gnu::weak]] decltype(::getpid) __interceptor_getpid;
[[gnu::weak]] decltype(::setenv) __interceptor_setenv;
[[gnu::weak]] decltype(::putenv) __interceptor_putenv;
[[gnu::weak]] decltype(::clearenv) __interceptor_clearenv;
}

using kedge::harness::caller;
using kedge::harness::next_of;
using kedge::harness::running_process;
using kedge::harness::world_state;

void kedge::harness::fill_random(running_process& p, void* to, std::size_t size) noexcept {
  auto* at = static_cast<std::byte*>(to);
  while (size != 0) {
    const std::uint64_t drawn = world_state::draw_from(p.entropy);
    const std::size_t n = size < sizeof drawn ? size : sizeof drawn;
    std::memcpy(at, &drawn, n);
    at += n;
    size -= n;
  }
}

using kedge::harness::fill_random;

namespace {

// Makes `entry`, which is "name=value" or has no '=', one of the process's. The C library's
// setenv() would grow the array of another process. Returns false if there is no memory.
bool put_entry(running_process& p, char* entry, std::size_t name_size, bool replaces) noexcept {
  std::size_t count = 0;
  for (; environ[count] != nullptr; ++count) {
    const char* const each = environ[count];
    if (std::strncmp(each, entry, name_size) != 0 || each[name_size] != '=') continue;
    if (replaces) environ[count] = entry;
    return true;
  }
  const kedge::base::outside_heap kept;
  try {
    std::vector<char*> longer(environ, environ + count);
    longer.push_back(entry);
    longer.push_back(nullptr);
    p.environment = std::move(longer);
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return false;
  }
  environ = p.environment.data();
  return true;
}

}  // namespace

extern "C" {

ssize_t getrandom(void* to, std::size_t size, unsigned flags) {
  if (running_process* const p = caller()) {
    fill_random(*p, to, size);
    return static_cast<ssize_t>(size);
  }
  static auto* const next = next_of("getrandom", &__interceptor_getrandom);
  return next(to, size, flags);
}

int getentropy(void* to, std::size_t size) {
  if (running_process* const p = caller()) {
    constexpr std::size_t most = 256;
    if (size > most) {
      errno = EIO;
      return -1;
    }
    fill_random(*p, to, size);
    return 0;
  }
  static auto* const next = next_of("getentropy", &__interceptor_getentropy);
  return next(to, size);
}

void arc4random_buf(void* to, std::size_t size) noexcept {
  if (running_process* const p = caller()) return fill_random(*p, to, size);
  static auto* const next = next_of("arc4random_buf", &__interceptor_arc4random_buf);
  next(to, size);
}

std::uint32_t arc4random() noexcept {
  std::uint32_t drawn = 0;
  arc4random_buf(&drawn, sizeof drawn);
  return drawn;
}

std::uint32_t arc4random_uniform(std::uint32_t bound) noexcept {
  if (bound < 2) return 0;
  // The numbers from here on are as many of each remainder.
  const std::uint32_t first = -bound % bound;
  std::uint32_t drawn = arc4random();
  while (drawn < first) drawn = arc4random();
  return drawn % bound;
}

pid_t getpid() noexcept {
  if (const running_process* const p = caller()) return p->pid;
  static auto* const next = next_of("getpid", &__interceptor_getpid);
  return next();
}

int setenv(const char* name, const char* value, int replaces) noexcept {
  if (running_process* const p = caller()) {
    if (name == nullptr || *name == 0 || std::strchr(name, '=') != nullptr) {
      errno = EINVAL;
      return -1;
    }
    const std::size_t size = std::strlen(name);
    const std::size_t value_size = std::strlen(value) + 1;
    auto* const entry = static_cast<char*>(std::malloc(size + 1 + value_size));
    if (entry == nullptr) return -1;
    std::memcpy(entry, name, size);
    entry[size] = '=';
    std::memcpy(entry + size + 1, value, value_size);
    return put_entry(*p, entry, size, replaces != 0) ? 0 : -1;
  }
  static auto* const next = next_of("setenv", &__interceptor_setenv);
  return next(name, value, replaces);
}

int putenv(char* entry) noexcept {
  if (running_process* const p = caller()) {
    const char* const end = std::strchr(entry, '=');
    if (end == nullptr) return unsetenv(entry);
    return put_entry(*p, entry, static_cast<std::size_t>(end - entry), true) ? 0 : -1;
  }
  static auto* const next = next_of("putenv", &__interceptor_putenv);
  return next(entry);
}

int clearenv() noexcept {
  if (caller() != nullptr) {
    *environ = nullptr;
    return 0;
  }
  static auto* const next = next_of("clearenv", &__interceptor_clearenv);
  return next();
}

}  // extern "C"

#if defined(__GLIBCXX__)
// libstdc++ asks the processor. Weak: a program that has a libstdc++ of its own keeps it.
[[gnu::weak]] std::random_device::result_type std::random_device::_M_getval() {
  if (running_process* const p = caller()) {
    result_type drawn = 0;
    fill_random(*p, &drawn, sizeof drawn);
    return drawn;
  }
  static auto* const next =
      next_of<result_type(std::random_device*)>("_ZNSt13random_device9_M_getvalEv");
  return next(this);
}
#endif

#endif
