// A child process that lives until it is told how to end; at the latest it ends with this object.
#pragma once

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

class child_of_test {
 public:
  child_of_test() {
    REQUIRE(::pipe(orders_) == 0);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ != 0) {
      ::close(orders_[0]);
      return;
    }
    ::close(orders_[1]);
    unsigned char code = 0;
    const bool told = ::read(orders_[0], &code, 1) == 1;
    _exit(told ? code : 0);
  }
  child_of_test(const child_of_test&) = delete;
  child_of_test& operator=(const child_of_test&) = delete;
  ~child_of_test() {
    if (!waited_for_) {
      ::kill(pid_, SIGKILL);
      wait();
    }
    ::close(orders_[1]);
  }

  pid_t pid() const { return pid_; }
  void exit(unsigned char code = 0) const { REQUIRE(::write(orders_[1], &code, 1) == 1); }
  void kill(int signal) const { REQUIRE(::kill(pid_, signal) == 0); }
  // Returns when it is a zombie.
  void let_it_end() const {
    siginfo_t info{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) == 0);
  }
  int wait() {
    int status = -1;
    CHECK(::waitpid(pid_, &status, 0) == pid_);
    waited_for_ = true;
    return status;
  }

 private:
  int orders_[2]{};
  pid_t pid_ = -1;
  bool waited_for_ = false;
};
