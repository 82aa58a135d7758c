#include "kedge/runtime/signal_set.h"

#include <sys/event.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <utility>

#include "kedge/runtime/context.h"

namespace kedge {
namespace {

// How often each signal is ignored on behalf of a set, and what it did before. Dispositions are the
// process's, so this is too.
class ignored_signals {
 public:
  void add(int number) {
    const std::lock_guard lock(mutex_);
    if (number <= 0 || number >= NSIG) {
      throw std::system_error(EINVAL, std::system_category(), "kedge::signal_set");
    }
    entry& e = entries_[static_cast<std::size_t>(number)];
    if (e.count == 0) {
      struct sigaction quiet {};
      quiet.sa_handler = number == SIGCHLD ? SIG_DFL : SIG_IGN;
      if (::sigaction(number, &quiet, &e.before) != 0) {
        throw std::system_error(errno, std::system_category(), "kedge::signal_set");
      }
    }
    ++e.count;
  }
  void remove(int number) noexcept {
    const std::lock_guard lock(mutex_);
    entry& e = entries_[static_cast<std::size_t>(number)];
    if (--e.count == 0) ::sigaction(number, &e.before, nullptr);
  }

 private:
  struct entry {
    unsigned count = 0;
    struct sigaction before {};
  };
  std::mutex mutex_;
  std::array<entry, NSIG> entries_;
};

ignored_signals& ignored() {
  static ignored_signals instance;
  return instance;
}

}  // namespace

// One signal of a set.
class signal_set::watch final : private listener {
 public:
  watch(signal_set& set, reactor& r, int n) : number(n), set_(set) {
    ignored().add(number);
    try {
      source_ = registration(r, sharing::shared, EVFILT_SIGNAL, static_cast<std::uint64_t>(number));
      if (const std::error_code refused = source_.link(*this)) throw std::system_error(refused);
    } catch (...) {
      ignored().remove(number);
      throw;
    }
  }
  watch(const watch&) = delete;
  watch& operator=(const watch&) = delete;
  ~watch() {
    unlink();
    const bool loop_lives = static_cast<bool>(source_);
    source_.close();
    // Out of the kernel before the signal gets its meaning back, or one could slip through.
    if (loop_lives) set_.reactor_.submit_changes();
    ignored().remove(number);
  }

  const int number;
  unsigned count = 0;

 private:
  void notify(const kevent64_s& event) noexcept override {
    count += static_cast<unsigned>(event.data);
    source_.clear();
    set_.arrived();
  }
  void closed(std::error_code why) noexcept override { set_.ended(why); }

  signal_set& set_;
  registration source_;
};

signal_set::signal_set(reactor& r, std::initializer_list<int> signals) : reactor_(r) {
  watches_.reserve(signals.size());
  for (const int number : signals) watches_.push_back(std::make_unique<watch>(*this, r, number));
  // From here on deliveries count.
  r.submit_changes();
  if (end_) throw std::system_error(end_, "kedge::signal_set");
}

signal_set::~signal_set() { ended(errc::closed); }

bool signal_set::take(signal_event& event) noexcept {
  for (const auto& w : watches_) {
    if (w->count == 0) continue;
    event = {w->number, std::exchange(w->count, 0)};
    return true;
  }
  return false;
}

void signal_set::arrived() noexcept {
  if (waiting_ != nullptr) reactor_.ready(*waiting_->waiter_);
}

void signal_set::ended(std::error_code why) noexcept {
  if (!end_) end_ = why;
  if (next_operation* const op = std::exchange(waiting_, nullptr)) {
    op->set_ = nullptr;
    op->error_ = why;
    reactor_.ready(*op->waiter_);
  }
}

bool signal_set::next_operation::await_ready() noexcept {
  if (set_->end_) {
    error_ = set_->end_;
  } else if (set_->waiting_ != nullptr) {
    error_ = errc::already_awaited;
  } else if (!set_->take(event_)) {
    return false;
  }
  set_ = nullptr;
  return true;
}

bool signal_set::next_operation::await_suspend(waiter& w) noexcept {
  waiter_ = &w;
  set_->waiting_ = this;
  return true;
}

bool signal_set::next_operation::await_settle() noexcept {
  if (set_ != nullptr) {
    if (!set_->take(event_)) return false;
    leave();
  }
  return true;
}

cancel_result signal_set::next_operation::await_cancel() noexcept {
  leave();
  return cancel_result::withdrawn;
}

result<signal_event> signal_set::next_operation::await_resume() {
  if (error_) return unexpected(error_);
  return event_;
}

void signal_set::next_operation::leave() noexcept {
  if (set_ != nullptr && set_->waiting_ == this) set_->waiting_ = nullptr;
  set_ = nullptr;
}

void signal_set::next_operation::describe(description& line) const noexcept {
  line.print("a signal");
}

}  // namespace kedge
