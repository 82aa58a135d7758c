// vnode: collects the notes of EVFILT_VNODE.
#include "kedge/runtime/vnode.h"

#include <sys/event.h>

#include <optional>
#include <utility>

namespace kedge {

class vnode::state final : public registered_source<vnode_event> {
 public:
  explicit state(int fd) noexcept : fd_(fd) {}

  void open(reactor& r) {
    constexpr std::uint32_t every_note = NOTE_DELETE | NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB |
                                         NOTE_LINK | NOTE_RENAME | NOTE_REVOKE;
    registered_source::open(r, sharing::shared, EVFILT_VNODE, static_cast<std::uint64_t>(fd_),
                            every_note, "kedge::vnode");
  }
  using registered_source::close;

 private:
  void notify(const kevent64_s& event) noexcept override {
    notes_ |= event.fflags;
    wake_waiting();
  }
  std::optional<result<vnode_event>> take() noexcept override {
    if (notes_ == 0) return std::nullopt;
    const std::uint32_t notes = std::exchange(notes_, 0);
    const auto has = [notes](std::uint32_t note) { return (notes & note) != 0; };
    return vnode_event{has(NOTE_WRITE),  has(NOTE_EXTEND), has(NOTE_ATTRIB), has(NOTE_LINK),
                       has(NOTE_RENAME), has(NOTE_DELETE), has(NOTE_REVOKE)};
  }
  failed_operation operation() const noexcept override { return {"vnode::next fd", fd_}; }
  void describe(description& line) const noexcept override {
    line.print("a change of the file of fd %d", fd_);
  }

  const int fd_;
  std::uint32_t notes_ = 0;
};

vnode::vnode(reactor& r, int fd) : state_(std::make_shared<state>(fd)) {
  state_->open(r);
}

vnode::~vnode() {
  state_->close();
}

event_awaitable<vnode_event> vnode::next() const noexcept {
  return event_awaitable<vnode_event>(state_);
}

}  // namespace kedge
