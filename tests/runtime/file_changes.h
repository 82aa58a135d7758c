// Changes of files, for tests. Each fails the test if the system refuses it.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>

namespace kedge {

// Makes the file if there is none, and appends.
inline void write_file(const std::string& path, std::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  REQUIRE(fd >= 0);
  REQUIRE(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  ::close(fd);
}
inline void move_file(const std::string& from, const std::string& to) {
  REQUIRE(::rename(from.c_str(), to.c_str()) == 0);
}
inline void remove_file(const std::string& path) {
  REQUIRE(::unlink(path.c_str()) == 0);
}
inline void make_folder(const std::string& path) {
  REQUIRE(::mkdir(path.c_str(), 0700) == 0);
}
inline void remove_folder(const std::string& path) {
  REQUIRE(::rmdir(path.c_str()) == 0);
}
inline void make_symlink(const std::string& target, const std::string& path) {
  REQUIRE(::symlink(target.c_str(), path.c_str()) == 0);
}
inline void set_mode(const std::string& path, mode_t mode) {
  REQUIRE(::chmod(path.c_str(), mode) == 0);
}
// As an editor saves: writes another file, and renames it over the path.
inline void save_atomically(const std::string& path, std::string_view text) {
  write_file(path + ".new", text);
  move_file(path + ".new", path);
}

// An open file.
class open_file {
 public:
  explicit open_file(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    REQUIRE(fd_ >= 0);
  }
  open_file(const open_file&) = delete;
  open_file& operator=(const open_file&) = delete;
  ~open_file() { ::close(fd_); }
  int fd() const noexcept { return fd_; }

 private:
  const int fd_;
};

}  // namespace kedge
