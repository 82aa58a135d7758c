// EVFILT_READ and EVFILT_WRITE on pipes (bsd/kern/sys_pipe.c) and on FIFOs. Darwin's kqueue treats
// a FIFO as a file (filt_vnode_common() in bsd/vfs/vfs_vnops.c).

#include "test_kqueue.h"
#include "test_sockets.h"

#include <limits.h>
#include <sys/stat.h>

#include <string>

#include "tests/temporary_folder.h"

namespace {

class test_fifo {
 public:
  test_fifo() { REQUIRE(::mkfifo(path_.c_str(), 0600) == 0); }
  int open(int mode) const { return ::open(path_.c_str(), mode | O_NONBLOCK); }

 private:
  const temporary_folder folder_;
  const std::string path_ = folder_ / "fifo";
};

}  // namespace

TEST_CASE("WRITE to a pipe without a reader reports EV_EOF and no room") {
  const test_kqueue kq;
  fd_pair p = fd_pair::of_pipe();
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD) == 0);
  p.close(0);
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    CHECK(kq.next() == event_list{event(p[1], EVFILT_WRITE, EV_ADD | EV_EOF)});
  }
}

TEST_CASE("WRITE to a pipe needs room for PIPE_BUF bytes") {
  const test_kqueue kq;
  const fd_pair p = fd_pair::of_pipe();
  p.fill(1);
  while (::write(p[1], "", 1) == 1) {
  }
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD) == 0);
  CHECK(kq.now().empty());
  p.take(0, PIPE_BUF - 1);
  CHECK(kq.now().empty());
  p.take(0, 1);
  CHECK(only(kq.next(), EVFILT_WRITE).data >= PIPE_BUF);
}

TEST_CASE("watching the wrong end of a pipe reports only EV_EOF, when the other end is closed") {
  const test_kqueue kq;
  fd_pair p = fd_pair::of_pipe();
  p.put(1, "abc");
  SUBCASE("READ of the writing end") {
    REQUIRE(kq.apply(p[1], EVFILT_READ, EV_ADD) == 0);
    CHECK(kq.now().empty());
    p.close(0);
    CHECK(kq.next() == event_list{event(p[1], EVFILT_READ, EV_ADD | EV_EOF)});
  }
  SUBCASE("WRITE of the reading end") {
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
    CHECK(kq.now().empty());
    p.close(1);
    CHECK(kq.next() == event_list{event(p[0], EVFILT_WRITE, EV_ADD | EV_EOF)});
  }
}

TEST_CASE(
    "READ of a FIFO counts its bytes in data, and reports no EV_EOF when the last writer closes") {
  const test_kqueue kq;
  const test_fifo fifo;
  const scoped_fd reader(fifo.open(O_RDONLY));
  REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    scoped_fd writer(fifo.open(O_WRONLY));
    CHECK(kq.now().empty());
    REQUIRE(::write(writer, "abc", 3) == 3);
    CHECK(only(kq.next(), EVFILT_READ).data == 3);
    writer.close();
    CHECK(kq.next() == event_list{event(int{reader}, EVFILT_READ, EV_ADD, 0, 3)});
    char bytes[3];
    REQUIRE(::read(reader, bytes, sizeof bytes) == 3);
    CHECK(kq.now().empty());
    CHECK(kq.now().empty());
  }
}

TEST_CASE(
    "WRITE to a FIFO is active while there is room, without EV_EOF after its reader is closed") {
  const test_kqueue kq;
  const test_fifo fifo;
  scoped_fd reader(fifo.open(O_RDONLY));
  const scoped_fd writer(fifo.open(O_WRONLY));
  REQUIRE(kq.apply(writer, EVFILT_WRITE, EV_ADD) == 0);
  CHECK(only(kq.next(), EVFILT_WRITE).data > 0);
  reader.close();
  CHECK(only(kq.next(), EVFILT_WRITE).flags == EV_ADD);
}
