// signal_set: dispositions that the sets of a process share, and one registration per signal.
#include "kedge/runtime/signal_set.h"

#include <sys/event.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <utility>
#include <vector>

#include "kedge/runtime/awaiting/context.h"

namespace kedge {
namespace {

// The number of sets that each signal is ignored for, and the signal's former disposition. One per
// process, as dispositions are.
class ignored_signals {
 public:
  void add(int number) {
    const std::lock_guard lock(mutex_);
    if (number <= 0 || number >= NSIG) {
      throw std::system_error(EINVAL, std::system_category(), "kedge::signal_set");
    }
    entry& e = entries_[static_cast<std::size_t>(number)];
    if (e.count == 0) {
      struct sigaction quiet{};
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
    struct sigaction before{};
  };
  std::mutex mutex_;
  std::array<entry, NSIG> entries_;
};

ignored_signals& ignored() {
  static ignored_signals instance;
  return instance;
}

}  // namespace

struct signal_set::state {
  explicit state(reactor& r) noexcept : in(r) {}

  bool take(signal_event& event) noexcept;
  void on_complete() noexcept;
  void ended(std::error_code why) noexcept;

  reactor& in;
  std::vector<std::unique_ptr<watch>> watches;
  next_operation* waiting = nullptr;
  std::error_code end;
};

// One signal of a set.
class signal_set::watch final : private listener {
 public:
  watch(state& set, int n) : number(n), set_(set) {
    ignored().add(number);
    try {
      source_ =
          registration(set.in, sharing::shared, EVFILT_SIGNAL, static_cast<std::uint64_t>(number));
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
    // Removes the registration from the kernel before the former disposition is restored, so that
    // no delivery has both effects.
    if (loop_lives) set_.in.submit_changes();
    ignored().remove(number);
  }

  const int number;
  unsigned count = 0;

 private:
  void notify(const kevent64_s& event) noexcept override {
    count += static_cast<unsigned>(event.data);
    source_.clear();
    set_.on_complete();
  }
  void closed(std::error_code why) noexcept override { set_.ended(why); }

  state& set_;
  registration source_;
};

signal_set::signal_set(reactor& r, std::initializer_list<int> signals)
    : state_(std::make_shared<state>(r)) {
  state_->watches.reserve(signals.size());
  for (const int number : signals) {
    state_->watches.push_back(std::make_unique<watch>(*state_, number));
  }
  // After this call every delivery is counted.
  r.submit_changes();
  if (state_->end) throw std::system_error(state_->end, "kedge::signal_set");
}

signal_set::~signal_set() {
  state_->ended(errc::closed);
  state_->watches.clear();
}

bool signal_set::state::take(signal_event& event) noexcept {
  for (const auto& w : watches) {
    if (w->count == 0) continue;
    event = {w->number, std::exchange(w->count, 0)};
    return true;
  }
  return false;
}

void signal_set::state::on_complete() noexcept {
  if (waiting != nullptr) in.ready(*waiting->waiter_);
}

void signal_set::state::ended(std::error_code why) noexcept {
  if (!end) end = why;
  if (next_operation* const op = std::exchange(waiting, nullptr)) {
    op->error_ = why;
    in.ready(*op->waiter_);
  }
}

bool signal_set::next_operation::await_ready() noexcept {
  if (state_->end) {
    error_ = state_->end;
  } else if (state_->waiting != nullptr) {
    error_ = errc::already_awaited;
  } else if (!state_->take(event_)) {
    return false;
  }
  return true;
}

bool signal_set::next_operation::await_suspend(waiter& w) noexcept {
  waiter_ = &w;
  state_->waiting = this;
  return true;
}

bool signal_set::next_operation::await_settle() noexcept {
  if (!error_ && !state_->take(event_)) return false;
  leave();
  return true;
}

bool signal_set::next_operation::await_cancel(cancel_cause) noexcept {
  leave();
  return true;
}

result<signal_event> signal_set::next_operation::await_resume() {
  if (error_) return unexpected(error_);
  return event_;
}

void signal_set::next_operation::leave() noexcept {
  if (state_->waiting == this) state_->waiting = nullptr;
}

void signal_set::next_operation::describe(description& line) const noexcept {
  line.print("a signal");
}

}  // namespace kedge
