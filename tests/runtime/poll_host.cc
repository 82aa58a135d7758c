// The host of a program that knows only poll(2).
#include <poll.h>

#include <cstddef>
#include <vector>

#include "host.h"

namespace kedge {
namespace {

class poll_host final : public host {
 public:
  void watch(loop& l) override {
    fds_.push_back({l.native_handle(), POLLIN, 0});
    loops_.push_back(&l);
  }
  void forget(loop& l) override {
    for (std::size_t i = 0; i < loops_.size(); ++i) {
      if (loops_[i] == &l) fds_[i].fd = -1;
    }
  }

 private:
  void go_round(bool may_wait) override {
    const auto size = static_cast<::nfds_t>(fds_.size());
    const int count = ::poll(fds_.data(), size, may_wait ? longest_silence_ms : 0);
    if (count == 0) note_silence();
    if (count <= 0) return;
    for (std::size_t i = 0; i < fds_.size(); ++i) {
      if (fds_[i].fd >= 0 && fds_[i].revents != 0) drive(*loops_[i]);
    }
  }

  std::vector<pollfd> fds_;
  std::vector<loop*> loops_;
};

}  // namespace

std::unique_ptr<host> make_host() {
  return std::make_unique<poll_host>();
}

}  // namespace kedge
