// allocation_check: the observer that a thread's allocations ask.
#include "kedge/runtime/reactor/allocation_check.h"

#include <new>
#include <utility>

#include "kedge/runtime/awaiting/frame_recycler.h"
#include "kedge/runtime/base/process_state.h"
#include "kedge/runtime/observer.h"

namespace kedge {

constinit thread_local observer* allocation_check::asked_ = nullptr;

namespace {

const base::process_state asked_of_process([] { return allocation_check::address_of_asked(); },
                                           sizeof(observer*));

}  // namespace

void allocation_check::ask() {
  if (asked_->fail_allocation()) throw std::bad_alloc();
}

void allocation_check::set_observer(observer* o) noexcept {
  const bool was_on = is_on();
  asked_ = o;
  if (was_on != is_on()) frame_recycler::reopen_cache();
}

}  // namespace kedge
