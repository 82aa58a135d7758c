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

#include "kedge/runtime/kqueue/libc/call_probe.h"

namespace kedge::kqueue {

// An address in the program or shared library that this code is part of.
[[gnu::visibility("hidden")]] inline constinit const char any_of_ours = 0;

template <class Function>
class next_definition {
 public:
  // `interceptor`: the address of the sanitizer's interceptor, which is a weak symbol. It is the
  // next definition if it lies in the module of ours, as a statically linked sanitizer's does. In
  // another module it is found by the order of the modules, like any other definition: it may stand
  // in front of ours, and call ours.
  constexpr next_definition(const char* name, Function* interceptor) noexcept
      : name_(name), interceptor_(interceptor) {}

  // Not noexcept: a thread may be cancelled in it.
  template <class... Arguments>
  auto operator()(Arguments... arguments) {
    call_probe::note();
    return find()(arguments...);
  }

  // Looks the definition up. To be called early for a function that may be called in a signal
  // handler, where dlsym() is not allowed.
  Function* find() noexcept {
    Function* f = found_.load(std::memory_order_relaxed);
    if (f == nullptr) {
      f = look_up();
      if (f == nullptr) fail();
      found_.store(f, std::memory_order_relaxed);
    }
    return f;
  }

 private:
  // Null if there is no further one.
  Function* look_up() const noexcept {
    if (is_in_our_module(interceptor_)) return interceptor_;
    if (void* const next = dlsym(RTLD_NEXT, name_); next != nullptr)
      return reinterpret_cast<Function*>(next);
    // This library was linked behind the C library, which bypassed_calls.h reports.
    auto* const first = reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name_));
    return is_in_our_module(first) ? nullptr : first;
  }

  static bool is_in_our_module(Function* function) noexcept {
    Dl_info of_function{};
    Dl_info of_ours{};
    return function != nullptr && dladdr(reinterpret_cast<void*>(function), &of_function) != 0 &&
           dladdr(&any_of_ours, &of_ours) != 0 && of_function.dli_fbase == of_ours.dli_fbase;
  }

  [[noreturn]] void fail() const noexcept {
    std::fprintf(stderr,
                 "kedge: there is no further definition of %s. Link the program without -static; "
                 "the library may stay static.\n",
                 name_);
    std::abort();
  }

  const char* const name_;
  Function* const interceptor_;
  std::atomic<Function*> found_{nullptr};
};

template <class Function>
next_definition(const char*, Function*) -> next_definition<Function>;

}  // namespace kedge::kqueue
