// deadlock: what is left that could wake a loop.
#include "kedge/runtime/deadlock.h"

#include <atomic>
#include <exception>
#include <ostream>
#include <sstream>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/reactor/mailbox.h"
#include "kedge/runtime/reactor/registration_table.h"

namespace kedge {

namespace {

void print_failure(std::ostream& out, const std::exception_ptr& failure) {
  out << "A task had failed before: ";
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    out << e.what() << '\n';
  } catch (...) {
    out << "an exception of an unknown type\n";
  }
}

}  // namespace

// The mailbox is looked at after its users: the last one may have posted before it went. The fence
// keeps this order; use_count() is a relaxed load.
waking reactor::find_waking() noexcept {
  if (mailbox_.use_count() > 1) return waking::anything;
  std::atomic_thread_fence(std::memory_order_acquire);
  const waking found = registrations_->find_waking();
  return found == waking::anything || mailbox_->fall_asleep() ? found : waking::anything;
}

// Every reactor is a loop.
void reactor::find_deadlock() {
  loop& self = static_cast<loop&>(*this);
  if (self.root_ == nullptr || (time_ != nullptr && time_->is_held())) return;
  const waking found = find_waking();
  if (found == waking::anything) return;
  if (found == waking::nothing) {
    if (is_watched_) tell_of_turn(happening::awake);
    std::ostringstream text;
    text << "kedge: deadlock: nothing is left that could wake the loop. Its tasks:\n";
    self.dump(text);
    for (const std::exception_ptr& failure : self.tasks.failures()) print_failure(text, failure);
    throw deadlock(text.str());
  }
  if (observer_ != nullptr && !told_of_signals_) {
    told_of_signals_ = true;
    observer_->at(happening::only_signals_left, nullptr, nullptr);
  }
}

}  // namespace kedge
