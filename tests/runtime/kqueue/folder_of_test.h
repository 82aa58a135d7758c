// A new folder for one test, removed at its end with all that is in it.
#pragma once

#include <doctest/doctest.h>
#include <ftw.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

class folder_of_test {
 public:
  folder_of_test() {
    const char* const where = std::getenv("TEST_TMPDIR");
    path_ = std::string(where != nullptr ? where : "/tmp") + "/kedge.XXXXXX";
    REQUIRE(::mkdtemp(path_.data()) != nullptr);
  }
  folder_of_test(const folder_of_test&) = delete;
  folder_of_test& operator=(const folder_of_test&) = delete;
  ~folder_of_test() { ::nftw(path_.c_str(), &remove_one, 8, FTW_DEPTH | FTW_PHYS); }

  const std::string& path() const { return path_; }
  std::string operator/(const char* name) const { return path_ + "/" + name; }

 private:
  static int remove_one(const char* path, const struct stat*, int, FTW*) {
    std::remove(path);
    return 0;
  }

  std::string path_;
};
