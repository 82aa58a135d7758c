// watch_file: walks the path as the kernel would, watches what is on the way, and walks it again
// when something there has changed.
#include "kedge/runtime/watch_file.h"

#include <fcntl.h>
#include <sys/event.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <initializer_list>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kedge/runtime/private_pipe.h"
#include "kedge/runtime/reactor/registration_table.h"

namespace kedge {
namespace {

#ifdef O_EVTONLY
constexpr int for_events = O_EVTONLY;
#else
constexpr int for_events = O_RDONLY;
#endif

// As the kernels have it.
constexpr int most_links = 40;
// A way that changes while it is walked is walked again, so often at a turn.
constexpr int most_walks = 8;

// A directory reports these on every system and to every user who may read it. That it is removed
// is reported by the directory above it.
constexpr std::uint32_t directory_notes = NOTE_RENAME | NOTE_REVOKE;
constexpr std::uint32_t file_notes =
    NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB | NOTE_LINK | NOTE_RENAME | NOTE_DELETE | NOTE_REVOKE;
// What these say of the target does not concern its path.
constexpr std::uint32_t content_notes = NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB;

std::error_code system_error_of(int error) noexcept {
  return {error, std::system_category()};
}

struct identity {
  dev_t device;
  ino_t number;
  bool operator==(const identity&) const = default;
};
identity identity_of(const struct stat& status) noexcept {
  return {status.st_dev, status.st_ino};
}

// A file on the way. It has no symbolic links in its path.
struct step {
  std::string path;
  identity file;
  std::uint32_t notes;
  bool is_target;
  bool operator==(const step&) const = default;
};

// Walks an absolute path. Throws std::bad_alloc.
class walk {
 public:
  explicit walk(std::string_view path) {
    add_names(path);
    if (!visit("/")) return;
    while (!names_.empty() && !error_) {
      const std::string name = std::move(names_.back());
      names_.pop_back();
      name == ".." ? ascend() : descend(name);
    }
    finish();
  }

  // The directories on the way, and the target unless there is an error.
  const std::vector<step>& steps() const noexcept { return steps_; }
  // Why the path names nothing.
  std::error_code error() const noexcept { return error_; }

 private:
  static std::string parent_of(const std::string& path) {
    return path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
  }

  // Puts the names of a path in front of those that are left to walk.
  void add_names(std::string_view path) {
    while (!path.empty()) {
      const std::size_t slash = std::min(path.rfind('/'), path.size());
      const std::size_t start = slash == path.size() ? 0 : slash + 1;
      const std::string_view name = path.substr(start);
      if (!name.empty() && name != ".") names_.emplace_back(name);
      path = path.substr(0, start == 0 ? 0 : slash);
    }
  }

  step* find(const std::string& path) noexcept {
    const auto place =
        std::find_if(steps_.begin(), steps_.end(), [&](const step& s) { return s.path == path; });
    return place == steps_.end() ? nullptr : &*place;
  }
  // A change of the directory's entries may change the way.
  void watch_entries(const std::string& directory) noexcept {
    if (step* const s = find(directory)) s->notes |= NOTE_WRITE;
  }

  bool visit(const std::string& path) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0) {
      error_ = system_error_of(errno);
      return false;
    }
    if (S_ISLNK(status.st_mode)) return follow_link(path);
    at_ = path;
    if (find(path) == nullptr)
      steps_.push_back({path, identity_of(status), directory_notes, false});
    is_directory_ = S_ISDIR(status.st_mode);
    return true;
  }
  void descend(const std::string& name) { visit((at_ == "/" ? at_ : at_ + "/") + name); }
  void ascend() { visit(parent_of(at_)); }

  bool follow_link(const std::string& path) {
    std::array<char, PATH_MAX> target;
    const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
    if (size < 0 || ++links_ > most_links) {
      error_ = system_error_of(size < 0 ? errno : ELOOP);
      return false;
    }
    watch_entries(at_);
    const std::string_view text(target.data(), static_cast<std::size_t>(size));
    add_names(text);
    return !text.starts_with('/') || visit("/");
  }

  // The entry of the last directory matters, be it the target or missing. So does that of the
  // directory itself, which may be removed.
  void finish() {
    std::string last = at_;
    if (!error_ && !steps_.empty()) {
      step& target = *find(at_);
      target.is_target = true;
      target.notes = is_directory_ ? directory_notes | NOTE_WRITE | NOTE_ATTRIB : file_notes;
      last = parent_of(at_);
    }
    watch_entries(last);
    watch_entries(parent_of(last));
  }

  std::vector<std::string> names_;  // that are left to walk, the next one last
  std::string at_ = "/";
  bool is_directory_ = false;
  int links_ = 0;
  std::vector<step> steps_;
  std::error_code error_;
};

std::string absolute(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos) {
    throw std::system_error(EINVAL, std::system_category(), "kedge::watch_file: the path");
  }
  if (path.starts_with('/')) return std::string(path);
  return std::filesystem::current_path().string().append("/").append(path);
}

}  // namespace

class watch_file::state final : public event_source<file_change> {
 public:
  state(reactor& r, std::string path)
      : in_(r), registrations_(r.registrations()), path_(std::move(path)) {}

  void open(watch_options options);
  void close() noexcept {
    watches_.clear();
    end(errc::closed);
  }

 private:
  class watch;

  std::optional<result<file_change>> take() noexcept override;
  bool has_loop() const noexcept override { return !registrations_->closed(); }
  failed_operation operation() const noexcept override { return {"watch_file::next"}; }
  void describe(description& line) const noexcept override {
    line.print("a change of %s", path_.c_str());
  }

  void on_notes(bool of_target, std::uint32_t notes) noexcept;
  std::error_code follow();
  bool is_watched(const walk& way) const noexcept;
  std::error_code watch_way(const walk& way);
  const watch* target() const noexcept;
  void note_target(std::optional<identity> before) noexcept;
  std::optional<identity> target_file() const noexcept;

  reactor& in_;  // while has_loop()
  const std::shared_ptr<registration_table> registrations_;
  const std::string path_;
  std::vector<std::unique_ptr<watch>> watches_;
  std::error_code missing_;   // why the path names nothing
  bool must_walk_ = true;     // the way may have changed
  bool has_changed_ = false;  // the path names another file, or nothing any more
  bool is_written_ = false;   // these two: the target
  bool has_attributes_ = false;
};

// One file on the way, open and registered.
class watch_file::state::watch final : private listener {
 public:
  watch(state& owner, const step& s) : owner_(owner), step_(s) {
    do {
      fd_ = ::open(s.path.c_str(), for_events | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    } while (fd_ < 0 && errno == EINTR);
    fd_ = above_standard(fd_);
    if (fd_ < 0) {
      refusal_ = system_error_of(errno);
      // It was taken away after the walk. It may be there again at the next one.
      if (!is_of_no_use()) step_.file = {};
      return;
    }
    struct stat status{};
    if (::fstat(fd_, &status) == 0) step_.file = identity_of(status);
    try {
      source_ = registration(*owner.registrations_, sharing::exclusive, EVFILT_VNODE,
                             static_cast<std::uint64_t>(fd_), s.notes);
    } catch (...) {
      ::close(fd_);
      throw;
    }
    refusal_ = source_.link(*this);
  }
  watch(const watch&) = delete;
  watch& operator=(const watch&) = delete;
  ~watch() {
    unlink();
    if (fd_ < 0) return;
    source_.close_with_fd();
    ::close(fd_);
  }

  const step& what() const noexcept { return step_; }
  // Why the file is not watched. Known when the changes have been submitted.
  std::error_code refusal() const noexcept { return refusal_; }
  // Returns whether the wait goes on without a watch of this file.
  bool is_passed_over() const noexcept {
    return is_of_no_use() || is_one_of({ENOENT, ENOTDIR, ELOOP});
  }

 private:
  void notify(const kevent64_s& event) noexcept override {
    owner_.on_notes(step_.is_target, event.fflags);
  }
  void closed(std::error_code why) noexcept override {
    refusal_ = why;
    if (why == errc::loop_gone) owner_.end(why);
  }
  bool can_wake() const noexcept override { return owner_.is_awaited(); }
  // This user may not watch the file, or it is of a kind that cannot be opened.
  bool is_of_no_use() const noexcept {
    return is_one_of({EACCES, EPERM, ENXIO, EOPNOTSUPP, ENODEV});
  }
  bool is_one_of(std::initializer_list<int> errors) const noexcept {
    return std::any_of(errors.begin(), errors.end(),
                       [this](int e) { return refusal_ == system_error_of(e); });
  }

  state& owner_;
  step step_;
  int fd_ = -1;
  registration source_;
  std::error_code refusal_;
};

void watch_file::state::open(watch_options options) {
  std::error_code refused = follow();
  if (!refused && target() != nullptr) refused = target()->refusal();
  if (!refused && missing_) {
    const bool may_appear =
        missing_ == std::errc::no_such_file_or_directory || missing_ == std::errc::not_a_directory;
    if (!options.may_be_missing || !may_appear) refused = missing_;
  }
  if (refused) throw std::system_error(refused, "kedge::watch_file: " + path_);
  has_changed_ = false;
}

void watch_file::state::on_notes(bool of_target, std::uint32_t notes) noexcept {
  if (of_target) {
    is_written_ = is_written_ || (notes & (NOTE_WRITE | NOTE_EXTEND)) != 0;
    has_attributes_ = has_attributes_ || (notes & NOTE_ATTRIB) != 0;
  }
  if (!of_target || (notes & ~content_notes) != 0) must_walk_ = true;
  wake_waiting();
}

std::optional<result<file_change>> watch_file::state::take() noexcept {
  if (!has_loop()) return std::nullopt;
  if (must_walk_) {
    std::error_code failed;
    try {
      failed = follow();
    } catch (const std::bad_alloc&) {
      failed = system_error_of(ENOMEM);
    } catch (const std::system_error& e) {
      failed = e.code();
    }
    if (failed) {
      must_walk_ = true;
      return unexpected(failed, operation());
    }
  }
  if (!has_changed_ && !is_written_ && !has_attributes_) return std::nullopt;
  const bool exists = target() != nullptr;
  return file_change{exists, std::exchange(has_changed_, false) && exists,
                     std::exchange(is_written_, false), std::exchange(has_attributes_, false)};
}

// Walks and watches until what is watched is the way. Throws std::bad_alloc and std::system_error.
std::error_code watch_file::state::follow() {
  for (int i = 0; i < most_walks; ++i) {
    const walk way(path_);
    must_walk_ = false;
    if (is_watched(way)) {
      missing_ = way.error();
      return {};
    }
    if (const std::error_code failed = watch_way(way)) return failed;
  }
  must_walk_ = true;  // at the next look
  return {};
}

bool watch_file::state::is_watched(const walk& way) const noexcept {
  return std::equal(way.steps().begin(), way.steps().end(), watches_.begin(), watches_.end(),
                    [](const step& s, const auto& w) { return w->what() == s; });
}

// Watches the way instead of what was watched before. An error has no effect. Throws as follow().
std::error_code watch_file::state::watch_way(const walk& way) {
  const auto find = [this](const step& s) {
    return std::find_if(watches_.begin(), watches_.end(),
                        [&](const auto& w) { return w != nullptr && w->what() == s; });
  };
  std::vector<std::unique_ptr<watch>> now;
  for (const step& s : way.steps()) {
    now.push_back(find(s) == watches_.end() ? std::make_unique<watch>(*this, s) : nullptr);
  }
  in_.submit_changes();
  for (const auto& w : now) {
    if (w != nullptr && w->refusal() && !w->is_passed_over()) return w->refusal();
  }
  const std::optional<identity> before = target_file();
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (now[i] == nullptr) now[i] = std::move(*find(way.steps()[i]));
  }
  watches_.swap(now);
  note_target(before);
  return {};
}

const watch_file::state::watch* watch_file::state::target() const noexcept {
  for (const auto& w : watches_) {
    if (w->what().is_target) return w.get();
  }
  return nullptr;
}

std::optional<identity> watch_file::state::target_file() const noexcept {
  return target() != nullptr ? std::optional(target()->what().file) : std::nullopt;
}

// What is known of the file of before does not concern another one. The file of before was open
// until now, so another one has another number.
void watch_file::state::note_target(std::optional<identity> before) noexcept {
  if (target_file() == before) return;
  has_changed_ = true;
  is_written_ = has_attributes_ = false;
}

watch_file::watch_file(reactor& r, std::string_view path, watch_options options)
    : state_(std::make_shared<state>(r, absolute(path))) {
  state_->open(options);
}

watch_file::~watch_file() {
  state_->close();
}

event_awaitable<file_change> watch_file::next() const noexcept {
  return event_awaitable<file_change>(state_);
}

}  // namespace kedge
