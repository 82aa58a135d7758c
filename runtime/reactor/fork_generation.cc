// Implements fork_generation() with pthread_atfork().
#include "kedge/runtime/reactor/fork_generation.h"

#include <pthread.h>

namespace kedge {

constinit std::atomic<unsigned> detail::forks{0};

namespace {

void count_fork() noexcept {
  detail::forks.fetch_add(1, std::memory_order_relaxed);
}

// Fails only without memory, before main().
[[maybe_unused]] const int registered = ::pthread_atfork(nullptr, nullptr, [] { count_fork(); });

}  // namespace
}  // namespace kedge
