// main() of every test program. A program has all tests of a room, and runs each source file in a
// process of its own: signal dispositions, limits, fds and threads of one file cannot reach
// another, and a crash ends one file.
//
//     kqueue                       runs every file, and prints one line for each that passes
//     kqueue -sf=*signal_test*     with arguments, which are doctest's (--help), runs them in this
//     process
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

extern char** environ;

namespace {

// Seconds that a file may take, and how long it then has to report the test case that hangs.
constexpr long file_limit = 120;
constexpr unsigned report_limit = 5;

// Collects the files of the listed test cases, in doctest's order.
struct file_lister : doctest::IReporter {
  static inline std::vector<std::string> files;

  explicit file_lister(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData& listed) override {
    for (unsigned i = 0; i < listed.num_data; ++i) {
      const std::string file = listed.data[i]->m_file.c_str();
      if (files.empty() || files.back() != file) files.push_back(file);
    }
  }
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_REPORTER("files", 1, file_lister);

std::vector<std::string> files_with_tests() {
  const char* const arguments[] = {"", "--list-test-cases", "--reporters=files"};
  doctest::Context(std::size(arguments), arguments).run();
  return file_lister::files;
}

long seconds_of(const char* variable, long otherwise) {
  const char* const text = std::getenv(variable);
  return text != nullptr ? std::atol(text) : otherwise;
}

// --- A file's process ----------------------------------------------------------------------------

volatile pid_t running = 0;
volatile std::sig_atomic_t is_late = 0;

// The first alarm lets doctest report the test case that hangs, the second ends the process.
void on_alarm(int) {
  kill(running, is_late ? SIGKILL : SIGABRT);
  is_late = 1;
  alarm(report_limit);
}

struct outcome {
  int passed = 0;
  int failed = 0;
  std::string wrong;  // how the process ended, if not as it should
  std::string text;   // its standard output and error
};

std::string content_of(std::FILE* file) {
  std::string text;
  std::rewind(file);
  for (int c; (c = std::getc(file)) != EOF;) text.push_back(static_cast<char>(c));
  return text;
}

// Reads doctest's summary. Returns false if there is none.
bool read_counts(outcome& o) {
  const char* const begin = "[doctest] test cases:";
  const std::size_t at = o.text.rfind(begin);
  return at != std::string::npos &&
         std::sscanf(o.text.c_str() + at, "[doctest] test cases: %*d | %d passed | %d failed",
                     &o.passed, &o.failed) == 2;
}

std::string how_it_ended(int status, long limit) {
  if (is_late) return "did not end within " + std::to_string(limit) + " s";
  if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? "" : "exit status " + std::to_string(WEXITSTATUS(status));
}

// Starts the program again for one file. Returns its pid, or -1 with errno.
pid_t start(char* program, const std::string& file, int output) {
  std::string filter = "--source-file=" + file;
  char* const arguments[] = {program, filter.data(), nullptr};
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  pid_t child = -1;
  errno = posix_spawnp(&child, program, &files, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&files);
  return errno == 0 ? child : -1;
}

outcome run_file(char* program, const std::string& file, long limit) {
  outcome o;
  // A file and not a pipe: what a test leaves running cannot keep this process waiting.
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> output(std::tmpfile(), &std::fclose);
  if (output) fcntl(fileno(output.get()), F_SETFD, FD_CLOEXEC);
  const pid_t child = output ? start(program, file, fileno(output.get())) : -1;
  if (child < 0) {
    o.failed = 1;
    o.wrong = std::string("cannot be started: ") + std::strerror(errno);
    return o;
  }
  running = child;
  is_late = 0;
  alarm(static_cast<unsigned>(limit));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  alarm(0);
  o.text = content_of(output.get());
  o.wrong = how_it_ended(status, limit);
  if (!read_counts(o) && o.wrong.empty()) o.wrong = "no summary";
  if (!o.wrong.empty()) o.failed = std::max(o.failed, 1);
  return o;
}

// --- The room ------------------------------------------------------------------------------------

// Of a file that passed: what the tests printed, without doctest's own lines.
std::string without_frame(const std::string& text) {
  std::string rest;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    const std::string line = text.substr(at, end - at);
    if (line.compare(0, 10, "[doctest] ") != 0 && line.compare(0, 10, "==========") != 0)
      rest += line;
    at = end;
  }
  return rest;
}

int run_room(char* program) {
  using clock = std::chrono::steady_clock;
  const auto seconds_since = [](clock::time_point start) {
    return std::chrono::duration<double>(clock::now() - start).count();
  };
  std::signal(SIGALRM, on_alarm);
  const clock::time_point room_start = clock::now();
  // Bazel's time-out of the whole program, less what the last report needs.
  const long room_limit = seconds_of("TEST_TIMEOUT", 1'000'000) - 2 * long{report_limit};
  outcome all;
  const std::vector<std::string> files = files_with_tests();
  for (const std::string& file : files) {
    const clock::time_point start = clock::now();
    const long left = room_limit - static_cast<long>(seconds_since(room_start));
    const outcome o = run_file(program, file, std::clamp(left, 1L, file_limit));
    const bool has_passed = o.failed == 0;
    std::printf("%s%s", has_passed ? without_frame(o.text).c_str() : o.text.c_str(),
                has_passed || o.text.empty() || o.text.back() == '\n' ? "" : "\n");
    std::printf("%s: %d passed, %d failed%s%s (%.1f s)\n", file.c_str(), o.passed, o.failed,
                o.wrong.empty() ? "" : ", ", o.wrong.c_str(), seconds_since(start));
    std::fflush(stdout);
    all.passed += o.passed;
    all.failed += o.failed;
    if (!has_passed) all.text += "FAILED: " + file + "\n";
  }
  std::printf("%s%zu files: %d passed, %d failed (%.1f s)\n", all.text.c_str(), files.size(),
              all.passed, all.failed, seconds_since(room_start));
  return all.failed == 0 && all.passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  return argc > 1 ? doctest::Context(argc, argv).run() : run_room(argv[0]);
}
