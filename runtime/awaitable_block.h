// awaitable_block: a callable without arguments that gives an awaitable. with_deadline,
// with_timeout and with_cleanup take one in place of an awaitable.
#pragma once

#include <type_traits>
#include <utility>

#include "kedge/runtime/task.h"

namespace kedge {

template <class F>
concept awaitable_block = !awaitable<F> && std::is_invocable_v<std::decay_t<F>&> &&
                          awaitable<std::invoke_result_t<std::decay_t<F>&>>;

namespace awaitable_block_detail {

template <class F>
task<awaited_t<std::invoke_result_t<F&>>> call(F block) {
  co_return co_await block();
}

}  // namespace awaitable_block_detail

// Returns a task that calls `block` when it is awaited, and gives what the awaitable gives. The
// task keeps `block`: a lambda that is a coroutine has its captures there. Throws std::bad_alloc.
template <awaitable_block F>
auto call_block(F&& block) {
  return awaitable_block_detail::call<std::decay_t<F>>(std::forward<F>(block));
}

}  // namespace kedge
