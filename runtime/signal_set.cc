// signal_set: dispositions that the sets of a process share, and one registration per signal.
#include "kedge/runtime/signal_set.h"

#include <sys/event.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <utility>
#include <vector>

#include "kedge/runtime/awaiting/context.h"

namespace kedge {
namespace {

extern "C" void take_without_effect(int) {}

bool is_our_handler(const struct sigaction& a) noexcept {
  return (a.sa_flags & SA_SIGINFO) == 0 && a.sa_handler == &take_without_effect;
}

// The number of sets that each signal is taken for, and the signal's former disposition. One per
// process, as dispositions are.
class taken_signals {
 public:
  void add(int number) {
    const std::lock_guard lock(mutex_);
    if (number <= 0 || number >= NSIG) refuse(EINVAL);
    entry& e = entries_[static_cast<std::size_t>(number)];
    if (e.count == 0) {
      struct sigaction ours{};
      ours.sa_handler = &take_without_effect;
      ours.sa_flags = SA_RESTART;
      if (::sigaction(number, &ours, &e.before) != 0) refuse(errno);
    }
    ++e.count;
  }
  // Leaves a disposition alone that the program has installed after add().
  void remove(int number) noexcept {
    const std::lock_guard lock(mutex_);
    entry& e = entries_[static_cast<std::size_t>(number)];
    if (--e.count != 0) return;
    struct sigaction now{};
    if (::sigaction(number, nullptr, &now) == 0 && is_our_handler(now)) {
      ::sigaction(number, &e.before, nullptr);
    }
  }

 private:
  struct entry {
    unsigned count = 0;
    struct sigaction before{};
  };
  [[noreturn]] static void refuse(int error) {
    throw std::system_error(error, std::system_category(), "kedge::signal_set");
  }
  std::mutex mutex_;
  std::array<entry, NSIG> entries_;
};

taken_signals& taken() {
  static taken_signals instance;
  return instance;
}

}  // namespace

struct signal_set::state {
  explicit state(reactor& r) noexcept : in(r) {}

  bool take(signal_event& event) noexcept;
  bool has(int number) const noexcept;
  // Returns false if the loop is gone, as it is in the child of a fork.
  bool is_registered() const noexcept;
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
    taken().add(number);
    try {
      source_ =
          registration(set.in, sharing::shared, EVFILT_SIGNAL, static_cast<std::uint64_t>(number));
      if (const std::error_code refused = source_.link(*this)) throw std::system_error(refused);
    } catch (...) {
      taken().remove(number);
      throw;
    }
  }
  watch(const watch&) = delete;
  watch& operator=(const watch&) = delete;
  ~watch() {
    unlink();
    const bool loop_lives = is_registered();
    source_.close();
    if (loop_lives) remove_from_kernel();
    taken().remove(number);
  }
  bool is_registered() const noexcept { return static_cast<bool>(source_); }

  const int number;
  unsigned count = 0;

 private:
  void notify(const kevent64_s& event) noexcept override {
    count += static_cast<unsigned>(event.data);
    source_.clear();
    set_.on_complete();
  }
  void closed(std::error_code why) noexcept override { set_.ended(why); }
  bool can_wake() const noexcept override { return set_.waiting != nullptr; }

  // Before the former disposition is restored, so that no delivery has both effects.
  void remove_from_kernel() noexcept {
    try {
      set_.in.submit_changes();
    } catch (const std::system_error&) {
      return;  // the kqueue fails: it delivers nothing
    }
  }

  state& set_;
  registration source_;
};

signal_set::signal_set(reactor& r, std::span<const int> signals)
    : state_(std::make_shared<state>(r)) {
  state_->watches.reserve(signals.size());
  for (const int number : signals) {
    if (!state_->has(number)) state_->watches.push_back(std::make_unique<watch>(*state_, number));
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

bool signal_set::state::has(int number) const noexcept {
  return std::any_of(watches.begin(), watches.end(),
                     [&](const auto& w) { return w->number == number; });
}

bool signal_set::state::is_registered() const noexcept {
  return std::all_of(watches.begin(), watches.end(),
                     [](const auto& w) { return w->is_registered(); });
}

void signal_set::state::on_complete() noexcept {
  if (waiting != nullptr) wake(*waiting->waiter_);
}

void signal_set::state::ended(std::error_code why) noexcept {
  if (!end) end = why;
  if (next_operation* const op = std::exchange(waiting, nullptr)) {
    op->error_ = why;
    wake(*op->waiter_);
  }
}

bool signal_set::next_operation::await_ready() noexcept {
  if (state_->end) {
    error_ = state_->end;
  } else if (state_->waiting != nullptr) {
    error_ = errc::already_awaited;
  } else if (!state_->take(event_)) {
    if (state_->is_registered()) return false;
    error_ = errc::loop_gone;
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
  if (error_) return unexpected(error_, failed_operation{"signal_set::next"});
  return event_;
}

void signal_set::next_operation::leave() noexcept {
  if (state_->waiting == this) state_->waiting = nullptr;
}

void signal_set::next_operation::describe(description& line) const noexcept {
  line.print("a signal");
}

}  // namespace kedge
