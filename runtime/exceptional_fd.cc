// exceptional_fd: picks the out-of-band marks from the events of EVFILT_EXCEPT.
#include "kedge/runtime/exceptional_fd.h"

#include <sys/event.h>

#include <optional>
#include <utility>

namespace kedge {

class exceptional_fd::state final : public registered_source<void> {
 public:
  explicit state(int fd) noexcept : fd_(fd) {}

  void open(reactor& r) {
    registered_source::open(r, sharing::shared, EVFILT_EXCEPT, static_cast<std::uint64_t>(fd_),
                            NOTE_OOB, "kedge::exceptional_fd");
  }
  using registered_source::close;

 private:
  void notify(const kevent64_s& event) noexcept override {
    if ((event.fflags & NOTE_OOB) != 0) has_come_ = true;
    if ((event.flags & EV_EOF) != 0) has_ended_ = true;
    if (has_come_ || has_ended_) wake_waiting();
  }
  std::optional<result<void>> take() noexcept override {
    if (std::exchange(has_come_, false)) return result<void>();
    if (has_ended_) return unexpected(errc::end_of_file, operation());
    return std::nullopt;
  }
  failed_operation operation() const noexcept override { return {"exceptional_fd::next fd", fd_}; }
  void describe(description& line) const noexcept override {
    line.print("out-of-band data of fd %d", fd_);
  }

  const int fd_;
  bool has_come_ = false;
  bool has_ended_ = false;
};

exceptional_fd::exceptional_fd(reactor& r, int fd) : state_(std::make_shared<state>(fd)) {
  state_->open(r);
}

exceptional_fd::~exceptional_fd() {
  state_->close();
}

event_awaitable<void> exceptional_fd::next() const noexcept {
  return event_awaitable<void>(state_);
}

}  // namespace kedge
