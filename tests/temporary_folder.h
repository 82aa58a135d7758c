// temporary_folder: a new folder for one test. The destructor removes it with all its files.
#pragma once

#include <doctest/doctest.h>
#include <ftw.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

class temporary_folder {
 public:
  // In the test's own folder, if the runner has made one.
  temporary_folder() : temporary_folder(std::getenv("TEST_TMPDIR")) {}
  // In `parent`; null: in /tmp. The name of a socket has room for a short path only.
  explicit temporary_folder(const char* parent)
      : path_(std::string(parent != nullptr ? parent : "/tmp") + "/kedge.XXXXXX") {
    REQUIRE(::mkdtemp(path_.data()) != nullptr);
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  ~temporary_folder() { ::nftw(path_.c_str(), &remove_one, 8, FTW_DEPTH | FTW_PHYS); }

  const std::string& path() const { return path_; }
  std::string operator/(const char* name) const { return path_ + "/" + name; }

 private:
  static int remove_one(const char* path, const struct stat*, int, FTW*) {
    std::remove(path);
    return 0;
  }

  std::string path_;
};
