// Another soft limit on descriptors, as long as it lives.
#pragma once

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>

class descriptor_limit_of_test {
 public:
  explicit descriptor_limit_of_test(rlim_t limit) {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const rlimit now{std::min(limit, before_.rlim_max), before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &now) == 0);
    limit_ = now.rlim_cur;
  }
  descriptor_limit_of_test(const descriptor_limit_of_test&) = delete;
  descriptor_limit_of_test& operator=(const descriptor_limit_of_test&) = delete;
  ~descriptor_limit_of_test() { ::setrlimit(RLIMIT_NOFILE, &before_); }

  rlim_t limit() const { return limit_; }

 private:
  rlimit before_{};
  rlim_t limit_ = 0;
};
