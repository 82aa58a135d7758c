// Reads /proc/self/maps and /proc/self/pagemap.
#include "kedge/mach/kernel/abi/memory_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "kedge/mach/kernel/abi/file_calls.h"

namespace kedge::mach::kernel {
namespace {

class file_of_process {
 public:
  explicit file_of_process(const char* path) noexcept : fd_(open_to_read(path)) {}
  ~file_of_process() {
    if (fd_ >= 0) close_file(fd_);
  }
  file_of_process(const file_of_process&) = delete;
  file_of_process& operator=(const file_of_process&) = delete;

  // Returns 0 at the end of the file and after any error.
  std::size_t read(void* to, std::size_t size) noexcept {
    for (;;) {
      const ssize_t got = read_file(fd_, to, size);
      if (got >= 0) return static_cast<std::size_t>(got);
      if (errno != EINTR) return 0;
    }
  }
  bool seek(std::uint64_t offset) noexcept {
    return lseek(fd_, static_cast<off_t>(offset), SEEK_SET) >= 0;
  }

 private:
  const int fd_;
};

// Parses "start-end rwxs offset major:minor inode path". All numbers but the inode are hexadecimal.
mapping parse(const char* line) noexcept {
  mapping found;
  char* at = nullptr;
  found.start = std::strtoull(line, &at, 16);
  found.end = std::strtoull(at + 1, &at, 16);
  found.protection = (at[1] == 'r' ? PROT_READ : 0) | (at[2] == 'w' ? PROT_WRITE : 0) |
                     (at[3] == 'x' ? PROT_EXEC : 0);
  found.shared = at[4] == 's';
  found.offset = std::strtoull(at + 5, &at, 16);
  const auto major = static_cast<unsigned>(std::strtoul(at, &at, 16));
  found.device = makedev(major, static_cast<unsigned>(std::strtoul(at + 1, &at, 16)));
  found.file = std::strtoull(at, nullptr, 10);
  return found;
}

}  // namespace

std::vector<mapping> mappings(std::uint64_t start, std::uint64_t end, bool next) {
  file_of_process maps("/proc/self/maps");
  std::vector<mapping> found;
  std::array<char, 16384> text;  // room for a whole line: a path is at most a page long
  std::size_t held = 0;
  for (;;) {
    const std::size_t got = maps.read(text.data() + held, text.size() - 1 - held);
    if (got == 0) return found;
    held += got;
    text[held] = '\0';
    char* line = text.data();
    while (char* const last = std::strchr(line, '\n')) {
      const mapping one = parse(line);
      const bool behind = one.start >= end;
      if (one.end > start && (!behind || next)) found.push_back(one);
      if (behind) return found;
      line = last + 1;
    }
    held = static_cast<std::size_t>(text.data() + held - line);
    std::memmove(text.data(), line, held);
  }
}

std::vector<mapping> mappings_within(std::uint64_t start, std::uint64_t end) {
  std::vector<mapping> found = mappings(start, end);
  if (found.empty()) return found;
  mapping& first = found.front();
  if (first.start < start) {
    first.offset += start - first.start;
    first.start = start;
  }
  found.back().end = std::min(found.back().end, end);
  return found;
}

bool find_written_pages(std::uint64_t start, std::uint64_t end, std::vector<bool>& written) {
  constexpr std::uint64_t present = std::uint64_t{1} << 63, swapped = std::uint64_t{1} << 62,
                          of_file = std::uint64_t{1} << 61;
  static const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  std::array<std::uint64_t, 1024> words;
  file_of_process pages("/proc/self/pagemap");
  std::uint64_t left = (end - start) / page;
  written.clear();
  written.reserve(left);
  if (!pages.seek(start / page * sizeof words[0])) return false;
  while (left > 0) {
    const std::size_t asked = std::min<std::uint64_t>(left, words.size()) * sizeof words[0];
    if (pages.read(words.data(), asked) != asked) return false;
    for (std::size_t index = 0; index < asked / sizeof words[0]; ++index) {
      const std::uint64_t word = words[index];
      written.push_back((word & (present | swapped)) != 0 && (word & of_file) == 0);
    }
    left -= asked / sizeof words[0];
  }
  return true;
}

}  // namespace kedge::mach::kernel
