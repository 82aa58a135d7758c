// glib_host: a loop inside a program whose main loop is GLib's, as that of a GTK program is.
//
//     printf '%s\n' '1500 tea' '500 kettle' | glib_host
//
// Reads lines "milliseconds text", and prints each text when that time has passed since the start.
// GLib drives all by one fd. Ctrl-C exits with 130, a wrong line with 1.
#include <glib-unix.h>
#include <glib.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <string>

#include "kedge/runtime/runtime.h"

const kedge::clock::time_point start = kedge::clock::now();

kedge::task<> remind(std::string line) {
  std::size_t end = 0;
  const std::chrono::milliseconds after(std::stol(line, &end));
  co_await kedge::sleep_until(start + after);
  std::puts(line.c_str() + line.find_first_not_of(' ', end));
}

kedge::task<> read_lines(kedge::loop& loop) {
  kedge::descriptor input(loop, STDIN_FILENO, kedge::ownership::borrowed);
  std::string unfinished;
  char buffer[4096];
  while (const auto n = co_await input.read_some(std::as_writable_bytes(std::span(buffer)))) {
    unfinished.append(buffer, *n);
    for (std::size_t end; (end = unfinished.find('\n')) != std::string::npos;) {
      loop.spawn(remind, unfinished.substr(0, end));
      unfinished.erase(0, end + 1);
    }
  }
}

struct host {
  kedge::loop loop;
  GMainLoop* main = g_main_loop_new(nullptr, FALSE);
  std::exception_ptr failure = nullptr;
  int status = 0;
};

// GLib calls this while the handle is readable. GLib is written in C, which no exception may pass.
gboolean drive(gint, GIOCondition, gpointer data) {
  host& h = *static_cast<host*>(data);
  try {
    h.loop.poll();
  } catch (...) {
    h.failure = std::current_exception();
  }
  if (!h.failure && h.loop.size() != 0) return G_SOURCE_CONTINUE;
  g_main_loop_quit(h.main);
  return G_SOURCE_REMOVE;  // before the loop is destroyed
}

gboolean interrupt(gpointer data) {
  host& h = *static_cast<host*>(data);
  h.status = 130;
  h.loop.cancel();  // the tasks end at their next turns, and with the last one the program
  return G_SOURCE_CONTINUE;
}

int main() try {
  host h;
  h.loop.spawn(read_lines(h.loop));
  g_unix_fd_add(h.loop.native_handle(), G_IO_IN, drive, &h);
  g_unix_signal_add(SIGINT, interrupt, &h);
  g_main_loop_run(h.main);
  g_main_loop_unref(h.main);
  if (h.failure) std::rethrow_exception(h.failure);
  return h.status;
} catch (const std::exception& e) {
  std::fprintf(stderr, "glib_host: %s\n", e.what());
  return 1;
}
