// The definition that comes after one of ours, for functions of the C library that this library
// defines too: a sanitizer's interceptor, which must hear of the call, or the C library's (or that
// of whatever was loaded before it).
#pragma once

#include <dlfcn.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace kedge::kqueue {

// Found with the first call, which may be before main.
template <class Function>
class next_definition {
 public:
  // `interceptor`: the address of the sanitizer's, a weak symbol.
  constexpr next_definition(const char* name, Function* interceptor) noexcept
      : name_(name), interceptor_(interceptor) {}

  // Not noexcept: a thread may be cancelled in it.
  template <class... Arguments>
  auto operator()(Arguments... arguments) {
    return find()(arguments...);
  }

  // For one that may be called in a signal handler, where it cannot be looked for.
  Function* find() noexcept {
    Function* f = found_.load(std::memory_order_relaxed);
    if (f == nullptr) {
      f = interceptor_;
      if (f == nullptr) f = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name_));
      if (f == nullptr) fail();
      found_.store(f, std::memory_order_relaxed);
    }
    return f;
  }

 private:
  [[noreturn]] void fail() const noexcept {
    std::fprintf(stderr, "kqueue: no further definition of %s: linked statically?\n", name_);
    std::abort();
  }

  const char* const name_;
  Function* const interceptor_;
  std::atomic<Function*> found_{nullptr};
};

template <class Function>
next_definition(const char*, Function*) -> next_definition<Function>;

}  // namespace kedge::kqueue
