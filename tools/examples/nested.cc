// nested: a loop inside a program whose own main loop knows only poll(2).
//
//     printf '%s\n' '1500 tea' '500 kettle' | nested
//
// The host itself reads lines "milliseconds text". Each line becomes a coroutine that prints the
// text when that time has passed since the start. To the host all coroutines, timers and
// descriptors of the loop are one fd to poll.
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/task.h"

const kedge::clock::time_point start = kedge::clock::now();

kedge::task<> remind(std::string line) {
  std::size_t end = 0;
  const std::chrono::milliseconds after(std::stol(line, &end));
  co_await kedge::sleep_until(start + after);
  std::puts(line.c_str() + line.find_first_not_of(' ', end));
}

// Reads pending input, and spawns a reminder for each complete line. Returns false at its end.
bool read_lines(kedge::loop& loop, std::string& unfinished) {
  char buffer[4096];
  const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
  if (n <= 0) return false;
  unfinished.append(buffer, static_cast<std::size_t>(n));
  for (std::size_t end; (end = unfinished.find('\n')) != std::string::npos;) {
    loop.spawn(remind, unfinished.substr(0, end));
    unfinished.erase(0, end + 1);
  }
  return true;
}

int main() {
  kedge::loop loop;
  std::string unfinished;
  pollfd watched[] = {{STDIN_FILENO, POLLIN, 0}, {loop.native_handle(), POLLIN, 0}};
  while (watched[0].fd >= 0 || loop.size() != 0) {
    ::poll(watched, 2, -1);
    if (watched[0].revents != 0 && !read_lines(loop, unfinished)) watched[0].fd = -1;
    if (watched[1].revents != 0) loop.poll();
  }
}
