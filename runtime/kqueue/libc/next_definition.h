// next_definition: the definition that a function of the C library would have without ours. It is a
// sanitizer's interceptor, which must see the call; or the C library's; or that of a library that
// was loaded before the C library.
//
//   extern "C" { [[gnu::weak]] decltype(dup) __interceptor_dup; }
//   constinit next_definition next_dup("dup", &__interceptor_dup);
//   return next_dup(fd);
//
// It is looked up by the first call, which may be before main(). Threads: any. Without a next
// definition the process is aborted with a message.
#pragma once

#include <dlfcn.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace kedge::kqueue {

template <class Function>
class next_definition {
 public:
  // `interceptor`: the address of the sanitizer's interceptor, which is a weak symbol.
  constexpr next_definition(const char* name, Function* interceptor) noexcept
      : name_(name), interceptor_(interceptor) {}

  // Not noexcept: a thread may be cancelled in it.
  template <class... Arguments>
  auto operator()(Arguments... arguments) {
    return find()(arguments...);
  }

  // Looks the definition up. To be called early for a function that may be called in a signal
  // handler, where dlsym() is not allowed.
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
