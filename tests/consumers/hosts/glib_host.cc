// The host of a program with GLib's main loop.
#include <glib-unix.h>
#include <glib.h>

#include <map>

#include "tests/runtime/host.h"

namespace kedge {
namespace {

class glib_host final : public host {
 public:
  ~glib_host() override {
    for (const auto& [l, w] : watches_) g_source_remove(w.source);
  }

  void watch(loop& l) override {
    watched& w = watches_[&l];
    w = {this, &l, 0};
    w.source = g_unix_fd_add(l.native_handle(), G_IO_IN, &glib_host::on_readable, &w);
  }
  void forget(loop& l) override {
    g_source_remove(watches_.at(&l).source);
    watches_.erase(&l);
  }

 private:
  struct watched {
    glib_host* in;
    loop* of;
    guint source;
  };

  static gboolean on_readable(gint, GIOCondition, gpointer data) {
    const watched& w = *static_cast<watched*>(data);
    w.in->drive(*w.of);
    return G_SOURCE_CONTINUE;
  }
  static gboolean on_silence(gpointer self) {
    static_cast<glib_host*>(self)->note_silence();
    return G_SOURCE_CONTINUE;
  }

  void go_round(bool may_wait) override {
    const guint limit = g_timeout_add(longest_silence_ms, &glib_host::on_silence, this);
    g_main_context_iteration(nullptr, may_wait ? TRUE : FALSE);
    g_source_remove(limit);
  }

  std::map<loop*, watched> watches_;
};

}  // namespace

std::unique_ptr<host> make_host() {
  return std::make_unique<glib_host>();
}

}  // namespace kedge
