// EVFILT_READ and EVFILT_WRITE on regular files: offsets, growth, lseek and modes.

#include "test_kqueue.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <thread>

#include "tests/temporary_folder.h"

namespace {

class temporary_file {
 public:
  explicit temporary_file(std::string_view content) : file_(std::tmpfile()) {
    REQUIRE(file_ != nullptr);
    REQUIRE(::write(fd(), content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    REQUIRE(::lseek(fd(), 0, SEEK_SET) == 0);
  }
  temporary_file(const temporary_file&) = delete;
  temporary_file& operator=(const temporary_file&) = delete;
  ~temporary_file() { std::fclose(file_); }
  int fd() const { return ::fileno(file_); }

 private:
  FILE* file_;
};

}  // namespace

TEST_CASE(
    "a regular file is READ-ready while its offset is not at the end, and WRITE-ready always") {
  const test_kqueue kq;
  const temporary_file file("0123456789");
  REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD) == 0);
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    const event_list got = kq.next();
    REQUIRE(got.size() == 1);
    CHECK(got[0].data == 10);
    CHECK((got[0].flags & EV_EOF) == 0);
  }
  REQUIRE(::lseek(file.fd(), 4, SEEK_SET) == 4);
  CHECK(only(kq.next(), EVFILT_READ).data == 6);
  REQUIRE(::lseek(file.fd(), 12, SEEK_SET) == 12);
  CHECK(only(kq.next(), EVFILT_READ).data == -2);
  REQUIRE(::lseek(file.fd(), 10, SEEK_SET) == 10);
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(file.fd(), EVFILT_WRITE, EV_ADD) == 0);
  CHECK(only(kq.next(), EVFILT_WRITE).data == 1);
  CHECK(only(kq.next(), EVFILT_WRITE).data == 1);
}

TEST_CASE("each time that a regular file grows, READ reports it at the old end") {
  const test_kqueue kq;
  const temporary_file file("abc");
  REQUIRE(::lseek(file.fd(), 3, SEEK_SET) == 3);
  const unsigned mode = level_or_clear();
  REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | mode) == 0);
  CHECK(kq.now().empty());
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    REQUIRE(::pwrite(file.fd(), "de", 2, 3 + 2 * i) == 2);
    CHECK(only(kq.next(), EVFILT_READ).data == 2);
    char bytes[2];
    REQUIRE(::read(file.fd(), bytes, 2) == 2);
    CHECK(kq.now().empty());
  }
  REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_DELETE) == 0);
  REQUIRE(::pwrite(file.fd(), "f", 1, 9) == 1);
  CHECK(kq.now().empty());
}

TEST_CASE("lseek away from the end of a regular file makes it readable") {
  const test_kqueue kq;
  const temporary_file file("0123456789");
  REQUIRE(::lseek(file.fd(), 0, SEEK_END) == 10);
  const unsigned mode = level_or_clear();
  REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | mode) == 0);
  CHECK(kq.now().empty());
  for (const int left : {4, 6}) {
    CAPTURE(left);
    REQUIRE(::lseek(file.fd(), -left, SEEK_END) == 10 - left);
    CHECK(only(kq.next(), EVFILT_READ).data == left);
    REQUIRE(::lseek(file.fd(), 0, SEEK_END) == 10);
    CHECK(kq.now().empty());
  }
  REQUIRE(::lseek(file.fd(), -1, SEEK_SET) == -1);
  CHECK(errno == EINVAL);
  CHECK(kq.now().empty());
}

TEST_CASE("lseek wakes a thread that waits, and is an event for WRITE with EV_CLEAR") {
  const test_kqueue kq;
  const temporary_file file("0123456789");
  REQUIRE(kq.apply(file.fd(), EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
  CHECK(kq.next().size() == 1);
  CHECK(kq.now().empty());
  std::thread mover([&] { ::lseek(file.fd(), 3, SEEK_SET); });
  CHECK(only(kq.next(), EVFILT_WRITE).data == 1);
  mover.join();
  CHECK(kq.now().empty());
  REQUIRE(kq.apply(file.fd(), EVFILT_VNODE, EV_ADD, NOTE_WRITE | NOTE_ATTRIB) == 0);
  REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | EV_DISABLE) == 0);
  REQUIRE(::lseek(file.fd(), 4, SEEK_SET) == 4);
  const event_list got = kq.next();
  CHECK(got.size() == 1);
  CHECK(only(got, EVFILT_WRITE).data == 1);
}

TEST_CASE("READ of a regular file with EV_CLEAR reports once, and again after a write or lseek") {
  const test_kqueue kq;
  const temporary_file file("0123456789");
  REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  CHECK(only(kq.next(), EVFILT_READ).data == 10);
  CHECK(kq.now().empty());
  REQUIRE(::lseek(file.fd(), 2, SEEK_SET) == 2);
  CHECK(only(kq.next(), EVFILT_READ).data == 8);
  CHECK(kq.now().empty());
  REQUIRE(::pwrite(file.fd(), "a", 1, 10) == 1);
  CHECK(only(kq.next(), EVFILT_READ).data == 9);
  CHECK(kq.now().empty());
}

TEST_CASE("READ of a file that is truncated below its offset has negative data") {
  const test_kqueue kq;
  const temporary_file file("0123456789");
  REQUIRE(::lseek(file.fd(), 6, SEEK_SET) == 6);
  REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD) == 0);
  CHECK(only(kq.next(), EVFILT_READ).data == 4);
  REQUIRE(::ftruncate(file.fd(), 2) == 0);
  CHECK(only(kq.next(), EVFILT_READ).data == -4);
  REQUIRE(::ftruncate(file.fd(), 6) == 0);
  CHECK(kq.now().empty());
  REQUIRE(::ftruncate(file.fd(), 9) == 0);
  CHECK(only(kq.next(), EVFILT_READ).data == 3);
}

TEST_CASE("WRITE of a regular file with EV_CLEAR reports once, and again after each write") {
  const test_kqueue kq;
  const temporary_file file("abc");
  REQUIRE(kq.apply(file.fd(), EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
  CHECK(only(kq.next(), EVFILT_WRITE).data == 1);
  CHECK(kq.now().empty());
  REQUIRE(::write(file.fd(), "d", 1) == 1);
  CHECK(only(kq.next(), EVFILT_WRITE).data == 1);
  CHECK(kq.now().empty());
}

TEST_CASE(
    "chmod, rename and unlink of a regular file are events for READ and WRITE with EV_CLEAR") {
  const temporary_folder folder;
  const std::string path = folder / "file";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  REQUIRE(fd >= 0);
  REQUIRE(::pwrite(fd, "abc", 3, 0) == 3);
  const test_kqueue kq;
  REQUIRE(kq.apply(fd, EVFILT_READ, EV_ADD | EV_CLEAR) == 0);
  REQUIRE(kq.apply(fd, EVFILT_WRITE, EV_ADD | EV_CLEAR) == 0);
  const auto check_both = [&] {
    event_list got = kq.next();
    if (got.size() == 1) got.push_back(kq.next().at(0));
    CHECK(only(got, EVFILT_READ).data == 3);
    CHECK(only(got, EVFILT_WRITE).data == 1);
    CHECK(kq.now().empty());
  };
  check_both();
  REQUIRE(::fchmod(fd, 0400) == 0);
  check_both();
  REQUIRE(::rename(path.c_str(), (folder / "renamed").c_str()) == 0);
  check_both();
  REQUIRE(::unlink((folder / "renamed").c_str()) == 0);
  check_both();
  ::close(fd);
}

TEST_CASE("knotes of a regular file follow EV_ONESHOT, EV_DISABLE and EV_DISPATCH") {
  const test_kqueue kq;
  const temporary_file file("abc");
  SUBCASE("EV_ONESHOT deletes after one event") {
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | EV_ONESHOT) == 0);
    CHECK(kq.next().size() == 1);
    CHECK(kq.now().empty());
    CHECK(kq.apply(file.fd(), EVFILT_READ, EV_DELETE) == ENOENT);
  }
  SUBCASE("EV_DISABLE holds back until EV_ENABLE") {
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | EV_DISABLE) == 0);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ENABLE) == 0);
    CHECK(only(kq.next(), EVFILT_READ).data == 3);
  }
  SUBCASE("EV_DISPATCH disables until EV_ENABLE") {
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | EV_DISPATCH) == 0);
    CHECK(kq.next().size() == 1);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ENABLE) == 0);
    CHECK(kq.next().size() == 1);
  }
  SUBCASE("a disabled knote can be deleted") {
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_ADD | EV_DISABLE) == 0);
    CHECK(kq.now().empty());
    REQUIRE(kq.apply(file.fd(), EVFILT_READ, EV_DELETE) == 0);
  }
}
