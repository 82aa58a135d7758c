// KEDGE_KQUEUE_OPT_OUT: options of a program that cannot be changed. Each case starts this program
// again, with a value of the variable.
#include "test_kqueue.h"

#if defined(__linux__)

#include <sys/wait.h>

#include <array>
#include <cstdlib>
#include <string>

namespace {

// The `data` of a READ event for three bytes, in a kqueue of its own.
std::int64_t amount() {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_sockets();
  REQUIRE(kq.apply(p[0], EVFILT_READ, EV_ADD) == 0);
  p.put(1, "abc");
  return only(kq.now(), EVFILT_READ).data;
}

// The exit status of a child that has found what it expects. (doctest's is 0, also without a test.)
constexpr int as_expected = 7;

struct outcome {
  int status;
  std::string text;  // of standard error
};

// Runs a test case of this file that is skipped otherwise, with `value` in the variable.
outcome run_with(const char* value, const char* test_case) {
  const fd_pair text = fd_pair::of_pipe();
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("KEDGE_KQUEUE_OPT_OUT", value, 1);
    ::dup2(text[1], 2);
    const std::string filter = "--test-case=" + std::string(test_case);
    ::execl("/proc/self/exe", "kqueue", "--no-skip", "--minimal", filter.c_str(),
            static_cast<char*>(nullptr));
    _exit(100);
  }
  REQUIRE(child > 0);
  outcome o{-1, {}};
  REQUIRE(::waitpid(child, &o.status, 0) == child);
  REQUIRE(WIFEXITED(o.status));
  o.status = WEXITSTATUS(o.status);
  std::array<char, 4096> bytes;
  REQUIRE(::fcntl(text[0], F_SETFL, O_NONBLOCK) == 0);
  const ssize_t size = ::read(text[0], bytes.data(), bytes.size());
  if (size > 0) o.text.assign(bytes.data(), static_cast<std::size_t>(size));
  return o;
}

}  // namespace

TEST_CASE("child with data" * doctest::skip()) {
  _exit(amount() == 3 && amount() == 3 ? as_expected : 1);
}

TEST_CASE("child without data" * doctest::skip()) {
  _exit(amount() == 0 && amount() == 0 ? as_expected : 1);
}

TEST_CASE("KEDGE_KQUEUE_OPT_OUT turns `data` off in every kqueue, and says nothing") {
  for (const char* const value : {"no_data", "not_pollable,no_data", " no_data ,", ",no_data"}) {
    CAPTURE(value);
    const outcome o = run_with(value, "child without data");
    CHECK(o.status == as_expected);
    CHECK(o.text == "");
  }
}

TEST_CASE("KEDGE_KQUEUE_OPT_OUT without names, or without known ones, changes nothing") {
  for (const char* const value : {"", ",", "not_pollable"}) {
    CAPTURE(value);
    const outcome o = run_with(value, "child with data");
    CHECK(o.status == as_expected);
    CHECK(o.text == "");
  }
}

TEST_CASE("unknown names in KEDGE_KQUEUE_OPT_OUT get one line on standard error") {
  const outcome all = run_with("data,no-data", "child with data");
  CHECK(all.status == as_expected);
  CHECK(all.text ==
        "kedge: KEDGE_KQUEUE_OPT_OUT knows no_data and not_pollable, but not data, no-data\n");
  const outcome one = run_with("no_data,oob_marks", "child without data");
  CHECK(one.status == as_expected);
  CHECK(one.text ==
        "kedge: KEDGE_KQUEUE_OPT_OUT knows no_data and not_pollable, but not oob_marks\n");
  const outcome with_controls = run_with("da\nta,\x1b[2Jred\x7f,\xc2\x9b", "child with data");
  CHECK(with_controls.status == as_expected);
  CHECK(
      with_controls.text ==
      "kedge: KEDGE_KQUEUE_OPT_OUT knows no_data and not_pollable, but not da?ta, ?[2Jred?, ??\n");
  const outcome long_one = run_with(std::string(5000, 'x').c_str(), "child with data");
  CHECK(long_one.status == as_expected);
  CHECK(long_one.text.size() == 512);
  CHECK(long_one.text.back() == '\n');
}

#endif
