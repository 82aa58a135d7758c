// child_process: a child that lives until exit() or kill(), at the latest until the destructor,
// which kills it and waits for it unless wait() was called. status_of_child(): one that runs a
// function.
#pragma once

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

class child_process {
 public:
  child_process() {
    REQUIRE(::pipe(orders_) == 0);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ != 0) {
      ::close(orders_[0]);
      return;
    }
    ::close(orders_[1]);
    unsigned char code = 0;
    const bool has_order = ::read(orders_[0], &code, 1) == 1;
    _exit(has_order ? code : 0);
  }
  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;
  ~child_process() {
    if (!waited_for_) {
      ::kill(pid_, SIGKILL);
      wait();
    }
    ::close(orders_[1]);
  }

  pid_t pid() const { return pid_; }
  // Makes the child exit with `code`.
  void exit(unsigned char code = 0) const { REQUIRE(::write(orders_[1], &code, 1) == 1); }
  void kill(int signal) const { REQUIRE(::kill(pid_, signal) == 0); }
  // Returns once the child is a zombie.
  void await_zombie() const {
    siginfo_t info{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) == 0);
  }
  // Reaps the child. Returns its status.
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

// Runs `body` in a child of fork(), which exits with its result. Returns the status of the child.
template <class Function>
int status_of_child(Function body) {
  const pid_t child = ::fork();
  if (child == 0) _exit(body());
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}
