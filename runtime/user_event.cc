// user_event: EVFILT_USER of the loop's kqueue. The kernel only wakes the loop: its flags are not
// cleared by a delivery on every system, so they are kept here.
#include "kedge/runtime/user_event.h"

#include <sys/event.h>

#include <mutex>
#include <optional>
#include <utility>

#include "kedge/runtime/reactor/fork_generation.h"

namespace kedge {

class user_event::state final : public registered_source<std::uint32_t> {
 public:
  state() = default;

  void open(reactor& r) {
    // No two live objects have the same address, and the loop's own event has 0.
    const auto ident = reinterpret_cast<std::uintptr_t>(this);
    registered_source::open(r, sharing::exclusive, EVFILT_USER, ident, 0, "kedge::user_event");
    const std::lock_guard hold(lock_);
    change_.ident = ident;
    change_.filter = EVFILT_USER;
    change_.fflags = NOTE_TRIGGER;
    change_.udata = registration_.udata();
    kq_ = r.kqueue_fd();
  }
  void close() noexcept {
    forget_kqueue();
    registered_source::close();
  }

  // Any thread. The call to the kernel cannot fail: the event is registered.
  bool trigger(std::uint32_t flags) noexcept {
    if (generation_ != fork_generation()) return false;
    const std::lock_guard hold(lock_);
    if (kq_ < 0) return false;
    flags_ |= flags;
    if (!std::exchange(is_triggered_, true)) {
      kevent64(kq_, &change_, 1, nullptr, 0, 0, nullptr);
    }
    return true;
  }

 private:
  void notify(const kevent64_s&) noexcept override { wake_waiting(); }
  void closed(std::error_code why) noexcept override {
    forget_kqueue();
    registered_source::closed(why);
  }
  std::optional<result<std::uint32_t>> take() noexcept override {
    if (generation_ != fork_generation()) return std::nullopt;
    const std::lock_guard hold(lock_);
    if (!std::exchange(is_triggered_, false)) return std::nullopt;
    return std::exchange(flags_, 0);
  }
  failed_operation operation() const noexcept override { return {"user_event::next"}; }
  void describe(description& line) const noexcept override { line.print("a user event"); }

  // In a forked child the lock may be held for ever, by a thread that the child does not have.
  void forget_kqueue() noexcept {
    if (generation_ != fork_generation()) return;
    const std::lock_guard hold(lock_);
    kq_ = -1;
  }

  const unsigned generation_ = fork_generation();
  std::mutex lock_;
  // Under the lock:
  kevent64_s change_{};
  int kq_ = -1;  // -1: closed, or the loop is gone
  bool is_triggered_ = false;
  std::uint32_t flags_ = 0;
};

bool user_event::trigger::operator()(std::uint32_t flags) const noexcept {
  return state_ != nullptr && state_->trigger(flags);
}

user_event::user_event(reactor& r) : state_(std::make_shared<state>()) {
  state_->open(r);
}

user_event::~user_event() {
  state_->close();
}

event_awaitable<std::uint32_t> user_event::next() const noexcept {
  return event_awaitable<std::uint32_t>(state_);
}

}  // namespace kedge
