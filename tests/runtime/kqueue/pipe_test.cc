// EVFILT_READ and EVFILT_WRITE on pipes (bsd/kern/sys_pipe.c) and on FIFOs, which on Darwin are
// files to kqueue (filt_vnode_common() in bsd/vfs/vfs_vnops.c).

#include "kqueue_of_test.h"
#include "sockets_of_test.h"

#include <limits.h>
#include <sys/stat.h>

#include <string>

#include "folder_of_test.h"

namespace {

class fifo_of_test {
 public:
  fifo_of_test() { REQUIRE(::mkfifo(path_.c_str(), 0600) == 0); }
  int open(int mode) const { return ::open(path_.c_str(), mode | O_NONBLOCK); }

 private:
  const folder_of_test folder_;
  const std::string path_ = folder_ / "fifo";
};

}  // namespace

TEST_CASE("WRITE to a pipe that nobody reads: EV_EOF, no room") {
  const kqueue_of_test kq;
  pair_of_test p = pair_of_test::of_pipe();
  REQUIRE(kq.apply(p[1], EVFILT_WRITE, EV_ADD) == 0);
  p.close(0);
  for (int i = 0; i < 2; ++i) {
    const event_list got = kq.next();
    CHECK(only(got, EVFILT_WRITE).flags == (EV_ADD | EV_EOF));
    CHECK(only(got, EVFILT_WRITE).fflags == 0);
    CHECK(only(got, EVFILT_WRITE).data == 0);
  }
}

TEST_CASE("WRITE to a pipe needs room for PIPE_BUF bytes") {
  const kqueue_of_test kq;
  const pair_of_test p = pair_of_test::of_pipe();
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

TEST_CASE("the wrong end of a pipe: nothing until the other end is closed") {
  const kqueue_of_test kq;
  pair_of_test p = pair_of_test::of_pipe();
  p.put(1, "abc");
  SUBCASE("READ of the end that writes") {
    REQUIRE(kq.apply(p[1], EVFILT_READ, EV_ADD) == 0);
    CHECK(kq.now().empty());
    p.close(0);
    const event_list got = kq.next();
    CHECK(only(got, EVFILT_READ).flags == (EV_ADD | EV_EOF));
    CHECK(only(got, EVFILT_READ).data == 0);
  }
  SUBCASE("WRITE of the end that reads") {
    REQUIRE(kq.apply(p[0], EVFILT_WRITE, EV_ADD) == 0);
    CHECK(kq.now().empty());
    p.close(1);
    const event_list got = kq.next();
    CHECK(only(got, EVFILT_WRITE).flags == (EV_ADD | EV_EOF));
    CHECK(only(got, EVFILT_WRITE).data == 0);
  }
}

TEST_CASE("READ of a FIFO: data is the bytes; it has no end") {
  const kqueue_of_test kq;
  const fifo_of_test fifo;
  const descriptor_of_test reader(fifo.open(O_RDONLY));
  REQUIRE(kq.apply(reader, EVFILT_READ, EV_ADD) == 0);
  CHECK(kq.now().empty());
  for (int i = 0; i < 2; ++i) {
    descriptor_of_test writer(fifo.open(O_WRONLY));
    CHECK(kq.now().empty());
    REQUIRE(::write(writer, "abc", 3) == 3);
    CHECK(only(kq.next(), EVFILT_READ).data == 3);
    writer.close();
    const event_list got = kq.next();
    CHECK(only(got, EVFILT_READ).flags == EV_ADD);
    CHECK(only(got, EVFILT_READ).data == 3);
    char bytes[3];
    REQUIRE(::read(reader, bytes, sizeof bytes) == 3);
    CHECK(kq.now().empty());
    CHECK(kq.now().empty());
  }
}

TEST_CASE("WRITE to a FIFO: writable while there is room, also when nobody reads") {
  const kqueue_of_test kq;
  const fifo_of_test fifo;
  descriptor_of_test reader(fifo.open(O_RDONLY));
  const descriptor_of_test writer(fifo.open(O_WRONLY));
  REQUIRE(kq.apply(writer, EVFILT_WRITE, EV_ADD) == 0);
  CHECK(only(kq.next(), EVFILT_WRITE).data > 0);
  reader.close();
  CHECK(only(kq.next(), EVFILT_WRITE).flags == EV_ADD);
}
