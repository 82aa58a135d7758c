// The host of a program with libuv's event loop.
#include <uv.h>

#include <map>

#include "tests/runtime/host.h"

namespace kedge {
namespace {

class uv_host final : public host {
 public:
  uv_host() {
    uv_loop_init(&uv_);
    uv_timer_init(&uv_, &limit_);
    limit_.data = this;
  }
  ~uv_host() override {
    for (auto& [l, w] : watches_) close(w);
    uv_close(reinterpret_cast<uv_handle_t*>(&limit_), nullptr);
    uv_run(&uv_, UV_RUN_DEFAULT);  // until what was closed has gone
    uv_loop_close(&uv_);
  }

  void watch(loop& l) override {
    auto* const w = new watched{{}, this, &l};
    watches_[&l] = w;
    uv_poll_init(&uv_, &w->handle, l.native_handle());
    w->handle.data = w;
    uv_poll_start(&w->handle, UV_READABLE, &uv_host::on_readable);
  }
  void forget(loop& l) override {
    close(watches_.at(&l));
    watches_.erase(&l);
  }

 private:
  struct watched {
    uv_poll_t handle;
    uv_host* in;
    loop* of;
  };

  static void on_readable(uv_poll_t* handle, int, int) {
    const watched& w = *static_cast<watched*>(handle->data);
    w.in->drive(*w.of);
  }
  // libuv uses the handle until its next round.
  static void close(watched* w) {
    uv_close(reinterpret_cast<uv_handle_t*>(&w->handle),
             [](uv_handle_t* closed) { delete static_cast<watched*>(closed->data); });
  }

  void go_round(bool may_wait) override {
    const auto on_silence = [](uv_timer_t* t) { static_cast<uv_host*>(t->data)->note_silence(); };
    uv_timer_start(&limit_, on_silence, longest_silence_ms, 0);
    uv_run(&uv_, may_wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    uv_timer_stop(&limit_);
  }

  uv_loop_t uv_;
  uv_timer_t limit_;
  std::map<loop*, watched*> watches_;
};

}  // namespace

std::unique_ptr<host> make_host() {
  return std::make_unique<uv_host>();
}

}  // namespace kedge
