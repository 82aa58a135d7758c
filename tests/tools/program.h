// program: runs a program of tools/ in a test, through pipes.
//
//     program p({"tools/examples/follow"});
//     p.write("text\n");
//     p.read_until("text\n");
//     p.signal(SIGINT);
//     CHECK(p.finish().status == 130);
//
// Paths are those of the tree: Bazel runs a test where its data has the same names. Standard input
// and output are pipes, and standard error is a temporary file. So a program can block only if it
// writes more than a pipe holds before it has read its input.
//
// The destructor kills a program that still runs. One thread may use an object.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct outcome {
  int status;  // the exit status, or 128 + the signal that ended the program
  std::string out;
  std::string err;
};

class program {
 public:
  // Starts the program, with the default dispositions of SIGINT, SIGTERM and SIGPIPE, and with
  // `handed` as its fd 3 if there is one. Ignores SIGPIPE in this process. Throws
  // std::system_error.
  explicit program(const std::vector<std::string>& command, int handed = -1);
  program(const program&) = delete;
  program& operator=(const program&) = delete;
  ~program();

  // Writes all of `text` to the standard input. Returns false if the program has closed it or
  // ended.
  bool write(std::string_view text);
  void close_input();

  // Reads the standard output until it contains `text`. Returns false if it ends before that.
  bool read_until(std::string_view text);
  // What has been read of the standard output.
  const std::string& output() const noexcept { return out_; }

  // Nobody reads the standard output any more.
  void close_output();

  void signal(int number);

  // Closes the input, reads the output to its end, and waits for the program to end.
  outcome finish();

 private:
  bool read_more();

  pid_t pid_ = -1;
  int input_ = -1;
  int output_ = -1;
  std::string out_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> errors_;
};

// Runs a program to its end, with `input` on its standard input.
outcome run(const std::vector<std::string>& command, std::string_view input = {});
