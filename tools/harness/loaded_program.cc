// Implements loaded_program: loads each copy once, keeps what its writable segments had then, and
// puts it back when the copy is used again.
#include "kedge/tools/harness/loaded_program.h"

#include <stdexcept>

#if defined(__APPLE__)

namespace kedge::harness {

class loaded_program::image {};

loaded_program::loaded_program(const std::string&) {
  throw std::logic_error("kedge::harness: there are no worlds on Darwin");
}
int loaded_program::operator()(int, char**) const {
  return 1;
}

}  // namespace kedge::harness

#else

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <system_error>
#include <utility>
#include <vector>

namespace kedge::harness {
namespace {

struct segment {
  std::byte* at;
  std::vector<std::byte> saved;
};

// A byte each: a sanitizer has poisoned what is between the variables.
#if defined(__clang__)
[[clang::no_sanitize("address", "thread"), clang::noinline]]
#else
[[gnu::no_sanitize_address, gnu::no_sanitize_thread, gnu::noinline]]
#endif
void copy_unchecked(std::byte* to, const std::byte* from, std::size_t size) noexcept {
  for (std::size_t i = 0; i < size; ++i) {
    const_cast<volatile std::byte*>(to)[i] = from[i];
  }
}

[[noreturn]] void fail(const std::string& path, const std::string& why) {
  throw std::runtime_error("kedge::harness: cannot load " + path + ": " + why);
}

// The writable memory of the object at `base`. What the loader has made read-only after the
// relocation is left out.
std::vector<segment> save_segments(std::uintptr_t base) {
  struct search {
    std::uintptr_t base;
    std::vector<segment> found;
  } s{base, {}};
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* argument) {
        auto& in = *static_cast<search*>(argument);
        if (info->dlpi_addr != in.base) return 0;
        const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
        std::uintptr_t read_only_from = 0, read_only_to = 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& h = info->dlpi_phdr[i];
          if (h.p_type == PT_GNU_RELRO) {
            read_only_from = info->dlpi_addr + h.p_vaddr;
            read_only_to = (info->dlpi_addr + h.p_vaddr + h.p_memsz) & ~(page - 1);
          }
        }
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& h = info->dlpi_phdr[i];
          if (h.p_type != PT_LOAD || (h.p_flags & PF_W) == 0) continue;
          const std::uintptr_t begin = info->dlpi_addr + h.p_vaddr;
          const std::uintptr_t end = begin + h.p_memsz;
          // A linker may have given what becomes read-only a segment of its own.
          const bool begins_read_only = begin >= read_only_from && begin < read_only_to;
          const std::uintptr_t from = begins_read_only ? std::min(read_only_to, end) : begin;
          if (from == end) continue;
          segment& made = in.found.emplace_back();
          made.at = reinterpret_cast<std::byte*>(from);
          made.saved.resize(end - from);
          copy_unchecked(made.saved.data(), made.at, made.saved.size());
        }
        return 1;
      },
      &s);
  return std::move(s.found);
}

// Copies the file into memory, so that the loader takes it for another object.
int copy_file(const std::string& path) {
  const int from = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (from < 0) fail(path, std::system_category().message(errno));
  struct stat s{};
  const int to = ::memfd_create("loaded_program", MFD_CLOEXEC);
  off_t done = 0;
  bool is_copied = to >= 0 && ::fstat(from, &s) == 0;
  while (is_copied && done < s.st_size) {
    is_copied = ::sendfile(to, from, &done, static_cast<std::size_t>(s.st_size - done)) > 0;
  }
  const int error = errno;
  ::close(from);
  if (is_copied) return to;
  if (to >= 0) ::close(to);
  fail(path, std::system_category().message(error));
}

}  // namespace

class loaded_program::image {
 public:
  explicit image(const std::string& path) {
    const int copy = copy_file(path);
    // A name that no earlier copy has had: the loader knows objects by their names.
    static std::string folder = "/proc/self/";
    folder += "./";
    const std::string name = folder + "fd/" + std::to_string(copy);
    object_ = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    ::close(copy);
    if (object_ == nullptr) fail(path, ::dlerror());
    main_ = reinterpret_cast<main_function*>(::dlsym(object_, "main"));
    if (main_ == nullptr) fail(path, "it has no main()");
    link_map* map = nullptr;
    if (::dlinfo(object_, RTLD_DI_LINKMAP, &map) != 0) fail(path, ::dlerror());
    segments_ = save_segments(map->l_addr);
  }
  image(const image&) = delete;
  image& operator=(const image&) = delete;

  void put_back() noexcept {
    for (const segment& each : segments_) {
      copy_unchecked(each.at, each.saved.data(), each.saved.size());
    }
  }
  int run(int argc, char** argv) const { return main_(argc, argv); }

 private:
  using main_function = int(int, char**);
  void* object_ = nullptr;  // for ever: what it has registered at the C library stays
  main_function* main_ = nullptr;
  std::vector<segment> segments_;
};

struct loaded_program::kept_images {
  std::map<std::string, std::vector<std::shared_ptr<image>>, std::less<>> by_path;
};

loaded_program::loaded_program(const std::string& path) {
  // Never destroyed: the objects stay loaded.
  static kept_images& kept = *new kept_images;
  auto& copies = kept.by_path[path];
  const auto unused =
      std::ranges::find_if(copies, [](const auto& each) { return each.use_count() == 1; });
  image_ = unused != copies.end() ? *unused : copies.emplace_back(std::make_shared<image>(path));
  image_->put_back();
}

int loaded_program::operator()(int argc, char** argv) const {
  return image_->run(argc, argv);
}

}  // namespace kedge::harness

#endif
