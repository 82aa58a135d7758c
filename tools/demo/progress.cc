#include "progress.h"

#include <chrono>

#include "kedge/runtime/sleep.h"

namespace {

class line {
 public:
  explicit line(std::FILE* terminal) : terminal_(terminal) {}
  line(const line&) = delete;
  line& operator=(const line&) = delete;
  ~line() { std::fputs("\r\033[K", terminal_); }

  void show(const tally& t, std::uint64_t size) {
    const double counted = static_cast<double>(t.total().bytes);
    std::fprintf(terminal_, "\r\033[K%.1f MB", counted / 1e6);
    if (size != 0) std::fprintf(terminal_, ", %.0f %%", 100 * counted / static_cast<double>(size));
    std::fflush(terminal_);
  }

 private:
  std::FILE* terminal_;
};

}  // namespace

kedge::task<> show_progress(std::FILE* terminal, const tally& t, std::uint64_t size) {
  line l(terminal);
  for (;;) {
    co_await kedge::sleep_for(std::chrono::milliseconds(100));
    l.show(t, size);
  }
}
