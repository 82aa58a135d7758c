// program: a program of tools/ that a test runs, through pipes.
//
//     program p({"tools/examples/follow"});
//     p.write("text\n");
//     p.read_until("text\n");
//     p.signal(SIGINT);
//     CHECK(p.finish().status == 130);
//
// Paths are those of the tree: Bazel runs a test where its data lies under the same names. Standard
// input and output are pipes, standard error a temporary file, so only a program that writes more
// than a pipe holds before it has read its input can stand still.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct outcome {
  int status;  // the exit status; 128 + signal if one ended the program
  std::string out;
  std::string err;
};

class program {
 public:
  // Starts it, with SIGINT, SIGTERM and SIGPIPE as they are by default. Throws std::system_error.
  explicit program(const std::vector<std::string>& command);
  program(const program&) = delete;
  program& operator=(const program&) = delete;
  // Kills it if it still runs.
  ~program();

  // Writes all of `text` to its standard input; false if it has closed that or has ended.
  bool write(std::string_view text);
  void close_input();

  // Reads standard output until it holds `text`; false if it ended without.
  bool read_until(std::string_view text);

  void signal(int number);

  // Closes its input, reads its output to the end and waits for it.
  outcome finish();

 private:
  bool read_more();

  pid_t pid_ = -1;
  int input_ = -1;
  int output_ = -1;
  std::string out_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> errors_;
};

// Runs a program with this standard input to its end.
outcome run(const std::vector<std::string>& command, std::string_view input = {});
