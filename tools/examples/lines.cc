// lines: counts the lines of files, several at a time, on threads beside its loop.
//
//     lines access.log error.log
//
// Reading a file blocks, so each is read by a function on another thread. Exits with 0, with 1 if a
// file cannot be read, or with 130 on Ctrl-C, which each function sees at its next block.
#include <signal.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <span>
#include <system_error>

#include "kedge/runtime/loop.h"
#include "kedge/runtime/offload.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/with_scope.h"
#include "kedge/runtime/with_signals.h"

// Blocks. Throws std::system_error if the file cannot be read.
std::size_t count_lines(const char* path, const kedge::stop_flag& stop) {
  std::FILE* const file = std::fopen(path, "rb");
  if (file == nullptr) throw std::system_error(errno, std::generic_category(), path);
  std::array<char, 65536> block;
  std::size_t lines = 0;
  std::size_t n = block.size();
  errno = 0;
  while (n == block.size() && !stop.stop_requested()) {
    n = std::fread(block.data(), 1, block.size(), file);
    const auto end = block.begin() + static_cast<std::ptrdiff_t>(n);
    lines += static_cast<std::size_t>(std::count(block.begin(), end, '\n'));
  }
  const int error = std::ferror(file) != 0 ? errno : 0;
  std::fclose(file);
  if (error != 0) throw std::system_error(error, std::generic_category(), path);
  return lines;
}

kedge::task<> report(const char* path, int& status) {
  const auto count = [path](const kedge::stop_flag& stop) { return count_lines(path, stop); };
  try {
    const std::size_t lines = co_await kedge::offload(count);
    std::printf("%zu %s\n", lines, path);
    std::fflush(stdout);
  } catch (const std::system_error& e) {
    std::fprintf(stderr, "lines: %s\n", e.what());
    status = 1;
  }
}

kedge::task<int> report_all(std::span<char*> paths) {
  int status = 0;
  const auto body = [&](kedge::scope& s) -> kedge::task<> {
    for (const char* path : paths) s.spawn(report, path, std::ref(status));
    co_return;
  };
  co_await kedge::with_scope(body);
  co_return status;
}

int main(int argc, char** argv) {
  kedge::loop loop;
  const std::span<char*> paths(argv + 1, static_cast<std::size_t>(argc - 1));
  return loop.run(kedge::with_signals({SIGINT, SIGTERM}, report_all(paths)));
}
