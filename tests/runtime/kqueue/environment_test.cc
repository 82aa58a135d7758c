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
  std::array<char, 4096> bytes;
  REQUIRE(::fcntl(text[0], F_SETFL, O_NONBLOCK) == 0);
  const ssize_t size = ::read(text[0], bytes.data(), bytes.size());
  if (size > 0) o.text.assign(bytes.data(), static_cast<std::size_t>(size));
  return o;
}

}  // namespace

TEST_CASE("in a child, READ has data" * doctest::skip()) {
  CHECK(amount() == 3);
  CHECK(amount() == 3);
}

TEST_CASE("in a child, READ has no data" * doctest::skip()) {
  CHECK(amount() == 0);
  CHECK(amount() == 0);
}

TEST_CASE("KEDGE_KQUEUE_OPT_OUT turns `data` off in every kqueue, and says nothing") {
  for (const char* const value : {"no_data", "not_pollable,no_data", " no_data ,", ",no_data"}) {
    CAPTURE(value);
    const outcome o = run_with(value, "in a child, READ has no data");
    CHECK(o.status == 0);
    CHECK(o.text == "");
  }
}

TEST_CASE("KEDGE_KQUEUE_OPT_OUT without names, or without known ones, changes nothing") {
  for (const char* const value : {"", ",", "not_pollable"}) {
    CAPTURE(value);
    const outcome o = run_with(value, "in a child, READ has data");
    CHECK(o.status == 0);
    CHECK(o.text == "");
  }
}

TEST_CASE("unknown names in KEDGE_KQUEUE_OPT_OUT get one line on standard error") {
  const outcome all = run_with("data,no-data", "in a child, READ has data");
  CHECK(all.status == 0);
  CHECK(all.text ==
        "kedge: KEDGE_KQUEUE_OPT_OUT knows no_data and not_pollable, but not data, no-data\n");
  const outcome one = run_with("no_data,oob_marks", "in a child, READ has no data");
  CHECK(one.status == 0);
  CHECK(one.text ==
        "kedge: KEDGE_KQUEUE_OPT_OUT knows no_data and not_pollable, but not oob_marks\n");
  const outcome long_one = run_with(std::string(5000, 'x').c_str(), "in a child, READ has data");
  CHECK(long_one.status == 0);
  CHECK(long_one.text.size() == 512);
  CHECK(long_one.text.back() == '\n');
}

#endif
