// scoped_fd_limit: another soft limit on the number of fds, for the lifetime of the object.
#pragma once

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>

class scoped_fd_limit {
 public:
  explicit scoped_fd_limit(rlim_t limit) {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const rlimit now{std::min(limit, before_.rlim_max), before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &now) == 0);
    limit_ = now.rlim_cur;
  }
  scoped_fd_limit(const scoped_fd_limit&) = delete;
  scoped_fd_limit& operator=(const scoped_fd_limit&) = delete;
  ~scoped_fd_limit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

  rlim_t limit() const { return limit_; }

 private:
  rlimit before_{};
  rlim_t limit_ = 0;
};
