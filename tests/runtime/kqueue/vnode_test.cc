// EVFILT_VNODE.

#include "kqueue_of_test.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <thread>

#include "descriptor_limit_of_test.h"
#include "folder_of_test.h"

#if !defined(O_EVTONLY)
#define O_EVTONLY O_RDONLY
#endif

namespace {

constexpr unsigned every_note =
    NOTE_DELETE | NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB | NOTE_LINK | NOTE_RENAME | NOTE_REVOKE;

void make_file(const std::string& path, std::string_view content = "") {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
  REQUIRE(fd >= 0);
  REQUIRE(::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
  ::close(fd);
}

void write_at(const std::string& path, off_t at, std::string_view content) {
  const int fd = ::open(path.c_str(), O_WRONLY);
  REQUIRE(fd >= 0);
  REQUIRE(::pwrite(fd, content.data(), content.size(), at) == static_cast<ssize_t>(content.size()));
  ::close(fd);
}

void make_folder(const std::string& path) {
  REQUIRE(::mkdir(path.c_str(), 0700) == 0);
}
void remove_folder(const std::string& path) {
  REQUIRE(::rmdir(path.c_str()) == 0);
}
void remove_file(const std::string& path) {
  REQUIRE(::unlink(path.c_str()) == 0);
}
void move(const std::string& from, const std::string& to) {
  REQUIRE(::rename(from.c_str(), to.c_str()) == 0);
}
void make_link(const std::string& old, const std::string& name) {
  REQUIRE(::link(old.c_str(), name.c_str()) == 0);
}
void set_mode(const std::string& path, mode_t mode) {
  REQUIRE(::chmod(path.c_str(), mode) == 0);
}

class opened {
 public:
  explicit opened(const std::string& path, int flags = O_EVTONLY)
      : fd_(::open(path.c_str(), flags)) {
    REQUIRE(fd_ >= 0);
  }
  opened(const opened&) = delete;
  opened& operator=(const opened&) = delete;
  ~opened() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

// A folder with the file "file" in it, watched for `notes`.
struct file_under_watch {
  folder_of_test folder;
  std::string path = folder / "file";
  kqueue_of_test kq;
  int fd;

  explicit file_under_watch(unsigned notes, unsigned flags = EV_CLEAR) {
    make_file(path, "0123456789");
    fd = ::open(path.c_str(), O_EVTONLY);
    REQUIRE(fd >= 0);
    REQUIRE(kq.apply(fd, EVFILT_VNODE, EV_ADD | flags, notes, 0, 7) == 0);
    REQUIRE(kq.now().empty());
  }
  ~file_under_watch() { ::close(fd); }

  // The fflags of the one event.
  unsigned told() const { return only(kq.next(), EVFILT_VNODE).fflags; }
  bool nothing() const { return kq.now().empty(); }
};

// A folder "watched" in another, watched for `notes`.
struct folder_under_watch {
  folder_of_test folder;
  std::string path = folder / "watched";
  kqueue_of_test kq;
  int fd;

  explicit folder_under_watch(unsigned notes, unsigned flags = EV_CLEAR) {
    make_folder(path);
    make_folder(folder / "beside");
    fd = ::open(path.c_str(), O_EVTONLY);
    REQUIRE(fd >= 0);
    REQUIRE(kq.apply(fd, EVFILT_VNODE, EV_ADD | flags, notes) == 0);
    REQUIRE(kq.now().empty());
  }
  ~folder_under_watch() { ::close(fd); }

  std::string operator/(const char* name) const { return path + "/" + name; }
  unsigned told() const { return only(kq.next(), EVFILT_VNODE).fflags; }
  bool nothing() const { return kq.now().empty(); }
};

}  // namespace

TEST_CASE("the event: what was asked for and happened, data 0") {
  const file_under_watch f(NOTE_WRITE);
  write_at(f.path, 0, "a");
  const event_list got = f.kq.next();
  REQUIRE(got.size() == 1);
  CHECK(got[0].ident == static_cast<std::uint64_t>(f.fd));
  CHECK(got[0].filter == EVFILT_VNODE);
  CHECK(got[0].flags == (EV_ADD | EV_CLEAR));
  CHECK(got[0].fflags == NOTE_WRITE);
  CHECK(got[0].data == 0);
  CHECK(got[0].udata == 7);
}

TEST_CASE("NOTE_DELETE: the file lost its name") {
  SUBCASE("unlink tells of the link, too, to whom asks for either") {
    unsigned asked = NOTE_DELETE;
    SUBCASE("DELETE") {}
    SUBCASE("LINK") {
      asked = NOTE_LINK;
    }
    const file_under_watch f(asked);
    remove_file(f.path);
    CHECK(f.told() == (NOTE_DELETE | NOTE_LINK));
    CHECK(f.nothing());
  }
  SUBCASE("one name of two") {
    const file_under_watch f(NOTE_DELETE);
    make_link(f.path, f.folder / "other");
    CHECK(f.nothing());
    remove_file(f.folder / "other");
    CHECK((f.told() & NOTE_DELETE) != 0);
    remove_file(f.path);
    CHECK((f.told() & NOTE_DELETE) != 0);
  }
  SUBCASE("another file was renamed to its name") {
    const file_under_watch f(NOTE_DELETE);
    make_file(f.folder / "new");
    move(f.folder / "new", f.path);
    CHECK((f.told() & NOTE_DELETE) != 0);
    CHECK(f.nothing());
  }
}

TEST_CASE("NOTE_DELETE: the directory was removed") {
  const folder_under_watch f(NOTE_DELETE);
  SUBCASE("from where it was") {
    remove_folder(f.path);
    CHECK(f.told() == (NOTE_DELETE | NOTE_LINK));
  }
  SUBCASE("from where it was moved to") {
    move(f.path, f.folder / "beside/moved");
    CHECK(f.nothing());
    remove_folder(f.folder / "beside/moved");
    CHECK(f.told() == (NOTE_DELETE | NOTE_LINK));
  }
  SUBCASE("by another that was renamed to its name") {
    move(f.folder / "beside", f.path);
    CHECK((f.told() & NOTE_DELETE) != 0);
    CHECK(f.nothing());
  }
  SUBCASE("not when another one is") {
    remove_folder(f.folder / "beside");
    make_folder(f / "inside");
    remove_folder(f / "inside");
    CHECK(f.nothing());
  }
  SUBCASE("with the one that it was in, both watched") {
    const opened above(f.folder.path());
    REQUIRE(f.kq.apply(above.fd(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE) == 0);
    remove_folder(f.path);
    const event_list got = f.kq.next();
    REQUIRE(got.size() == 2);
    for (const kevent64_s& e : got) {
      const bool is_above = e.ident == static_cast<std::uint64_t>(above.fd());
      CHECK(e.fflags == (is_above ? NOTE_WRITE | NOTE_LINK : NOTE_DELETE | NOTE_LINK));
    }
  }
}

TEST_CASE("a directory that another is renamed to the name of is deleted, and no attribute of it") {
  const folder_under_watch f(NOTE_DELETE | NOTE_ATTRIB);
  move(f.folder / "beside", f.path);
  CHECK((f.told() & ~unsigned{NOTE_LINK}) == NOTE_DELETE);
  CHECK(f.nothing());
}

TEST_CASE("NOTE_WRITE: it was written to, from wherever; reading is nothing") {
  const file_under_watch f(NOTE_WRITE);
  const opened file(f.path, O_RDWR);
  char c = 0;
  REQUIRE(::pread(file.fd(), &c, 1, 0) == 1);
  CHECK(f.nothing());
  REQUIRE(::pwrite(file.fd(), "a", 1, 0) == 1);
  CHECK(f.told() == NOTE_WRITE);
  write_at(f.path, 10, "longer");
  CHECK(f.told() == NOTE_WRITE);
  CHECK(f.nothing());
}

TEST_CASE("NOTE_EXTEND: it grew") {
  const file_under_watch f(NOTE_EXTEND);
  write_at(f.path, 9, "a");
  CHECK(f.nothing());
  write_at(f.path, 9, "ab");
  CHECK(f.told() == NOTE_EXTEND);
  REQUIRE(::truncate(f.path.c_str(), 100) == 0);
  CHECK(f.told() == NOTE_EXTEND);
  REQUIRE(::truncate(f.path.c_str(), 5) == 0);
  CHECK(f.nothing());
  write_at(f.path, 5, "a");
  CHECK(f.told() == NOTE_EXTEND);
}

TEST_CASE("NOTE_ATTRIB") {
  const file_under_watch f(NOTE_ATTRIB);
  SUBCASE("mode") {
    set_mode(f.path, 0640);
  }
  SUBCASE("times") {
    const timeval times[2] = {{1'000'000, 0}, {1'000'000, 0}};
    REQUIRE(::utimes(f.path.c_str(), times) == 0);
  }
  SUBCASE("length, when it gets shorter") {
    REQUIRE(::truncate(f.path.c_str(), 5) == 0);
  }
  CHECK(f.told() == NOTE_ATTRIB);
  write_at(f.path, 0, "a");
  make_link(f.path, f.folder / "other");
  move(f.path, f.folder / "elsewhere");
  CHECK(f.nothing());
}

TEST_CASE("NOTE_LINK: a further name") {
  const file_under_watch f(NOTE_LINK);
  make_link(f.path, f.folder / "other");
  CHECK(f.told() == NOTE_LINK);
  set_mode(f.path, 0640);
  CHECK(f.nothing());
}

TEST_CASE("NOTE_RENAME") {
  SUBCASE("of a file") {
    const file_under_watch f(NOTE_RENAME);
    move(f.path, f.folder / "elsewhere");
    CHECK(f.told() == NOTE_RENAME);
    CHECK(f.nothing());
  }
  SUBCASE("of a directory") {
    const folder_under_watch f(NOTE_RENAME);
    make_file(f / "a");
    move(f / "a", f / "b");
    CHECK(f.nothing());
    move(f.path, f.folder / "elsewhere");
    CHECK(f.told() == NOTE_RENAME);
  }
}

TEST_CASE("a directory is written to when its entries change") {
  const folder_under_watch f(every_note & ~unsigned{NOTE_ATTRIB});
  make_file(f / "a", "content");
  CHECK(f.told() == NOTE_WRITE);
  write_at(f / "a", 0, "longer than it was");
  set_mode(f / "a", 0640);
  CHECK(f.nothing());
  move(f / "a", f / "b");
  CHECK(f.told() == NOTE_WRITE);
  make_link(f / "b", f / "c");
  CHECK(f.told() == NOTE_WRITE);
  move(f / "b", f.folder / "beside/b");
  CHECK(f.told() == NOTE_WRITE);
  move(f.folder / "beside/b", f / "b");
  CHECK(f.told() == NOTE_WRITE);
  remove_file(f / "c");
  CHECK(f.told() == NOTE_WRITE);
  CHECK(f.nothing());
}

TEST_CASE("a subdirectory is a link of the directory, too") {
  unsigned asked = NOTE_LINK;
  SUBCASE("to whom asks for LINK") {}
  SUBCASE("to whom asks for WRITE") {
    asked = NOTE_WRITE;
  }
  const folder_under_watch f(asked);
  make_folder(f / "a");
  CHECK(f.told() == (NOTE_WRITE | NOTE_LINK));
  move(f / "a", f.folder / "beside/a");
  CHECK(f.told() == (NOTE_WRITE | NOTE_LINK));
  move(f.folder / "beside/a", f / "a");
  CHECK(f.told() == (NOTE_WRITE | NOTE_LINK));
  move(f / "a", f / "b");
  if (asked == NOTE_WRITE) CHECK(f.told() == NOTE_WRITE);
  CHECK(f.nothing());
  remove_folder(f / "b");
  CHECK(f.told() == (NOTE_WRITE | NOTE_LINK));
}

TEST_CASE("NOTE_ATTRIB of a directory is its own") {
  const folder_under_watch f(NOTE_ATTRIB);
  make_file(f / "a");
  set_mode(f / "a", 0640);
  CHECK(f.nothing());
  set_mode(f.path, 0750);
  CHECK(f.told() == NOTE_ATTRIB);
}

TEST_CASE("what nobody asks for is not told") {
  unsigned notes = 0;
  SUBCASE("nothing at all") {}
  SUBCASE("REVOKE, which does not happen") {
    notes = NOTE_REVOKE;
  }
  const file_under_watch f(notes);
  write_at(f.path, 0, "longer than it was");
  set_mode(f.path, 0640);
  move(f.path, f.folder / "elsewhere");
  remove_file(f.folder / "elsewhere");
  CHECK(f.nothing());
}

TEST_CASE("what happens adds up until it is delivered") {
  const file_under_watch f(every_note);
  write_at(f.path, 10, "a");
  set_mode(f.path, 0640);
  move(f.path, f.folder / "elsewhere");
  CHECK(f.told() == (NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB | NOTE_RENAME));
  remove_file(f.folder / "elsewhere");
  CHECK((f.told() & (NOTE_DELETE | NOTE_LINK | NOTE_WRITE)) == (NOTE_DELETE | NOTE_LINK));
  CHECK(f.nothing());
}

TEST_CASE("without EV_CLEAR what happened stays, and more is added") {
  const file_under_watch f(NOTE_WRITE | NOTE_RENAME, 0);
  write_at(f.path, 0, "a");
  CHECK(f.told() == NOTE_WRITE);
  CHECK(f.told() == NOTE_WRITE);
  move(f.path, f.folder / "elsewhere");
  CHECK(f.told() == (NOTE_WRITE | NOTE_RENAME));
  CHECK(f.told() == (NOTE_WRITE | NOTE_RENAME));
}

TEST_CASE("EV_ONESHOT deletes after one delivery") {
  const file_under_watch f(NOTE_WRITE, EV_ONESHOT);
  write_at(f.path, 0, "a");
  CHECK(f.told() == NOTE_WRITE);
  write_at(f.path, 0, "a");
  CHECK(f.nothing());
  CHECK(f.kq.apply(f.fd, EVFILT_VNODE, EV_DELETE) == ENOENT);
}

TEST_CASE("EV_DISPATCH disables after one delivery; meanwhile things add up") {
  const file_under_watch f(NOTE_WRITE | NOTE_ATTRIB, EV_DISPATCH | EV_CLEAR);
  write_at(f.path, 0, "a");
  CHECK(f.told() == NOTE_WRITE);
  write_at(f.path, 0, "a");
  set_mode(f.path, 0640);
  CHECK(f.nothing());
  REQUIRE(f.kq.apply(f.fd, EVFILT_VNODE, EV_ENABLE, NOTE_WRITE | NOTE_ATTRIB) == 0);
  CHECK(f.told() == (NOTE_WRITE | NOTE_ATTRIB));
  CHECK(f.nothing());
}

TEST_CASE("a change of fflags counts from then on") {
  const file_under_watch f(NOTE_WRITE);
  SUBCASE("what happened before it counts by the old ones") {
    set_mode(f.path, 0640);
    REQUIRE(f.kq.apply(f.fd, EVFILT_VNODE, EV_ADD, NOTE_ATTRIB) == 0);
    CHECK(f.nothing());
  }
  SUBCASE("what was told by the old ones is still to be delivered") {
    write_at(f.path, 0, "a");
    REQUIRE(f.kq.apply(f.fd, EVFILT_VNODE, EV_ADD, NOTE_ATTRIB) == 0);
    CHECK(f.told() == NOTE_WRITE);
  }
  SUBCASE("what comes after it counts by the new ones") {
    REQUIRE(f.kq.apply(f.fd, EVFILT_VNODE, EV_ADD, NOTE_ATTRIB) == 0);
    write_at(f.path, 0, "a");
    CHECK(f.nothing());
    set_mode(f.path, 0640);
    CHECK(f.told() == NOTE_ATTRIB);
  }
  SUBCASE("enabling without fflags asks for nothing") {
    REQUIRE(f.kq.apply(f.fd, EVFILT_VNODE, EV_ENABLE) == 0);
    write_at(f.path, 0, "a");
    CHECK(f.nothing());
  }
}

TEST_CASE("deleted, it tells nothing") {
  const file_under_watch f(NOTE_WRITE);
  write_at(f.path, 0, "a");
  REQUIRE(f.kq.apply(f.fd, EVFILT_VNODE, EV_DELETE) == 0);
  CHECK(f.nothing());
  CHECK(f.kq.apply(f.fd, EVFILT_VNODE, EV_DELETE) == ENOENT);
}

TEST_CASE("two descriptors of one file, each with its own fflags") {
  const file_under_watch f(NOTE_WRITE);
  const opened again(f.path);
  REQUIRE(f.kq.apply(again.fd(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_ATTRIB | NOTE_EXTEND) == 0);
  write_at(f.path, 10, "a");
  set_mode(f.path, 0640);
  const event_list got = f.kq.next();
  REQUIRE(got.size() == 2);
  for (const kevent64_s& e : got) {
    const bool is_first = e.ident == static_cast<std::uint64_t>(f.fd);
    CHECK(e.fflags == (is_first ? NOTE_WRITE : NOTE_ATTRIB | NOTE_EXTEND));
  }
  SUBCASE("one deleted") {
    REQUIRE(f.kq.apply(f.fd, EVFILT_VNODE, EV_DELETE) == 0);
    write_at(f.path, 11, "a");
    CHECK(f.told() == NOTE_EXTEND);
  }
  SUBCASE("the other deleted") {
    REQUIRE(f.kq.apply(again.fd(), EVFILT_VNODE, EV_DELETE) == 0);
    write_at(f.path, 11, "a");
    CHECK(f.told() == NOTE_WRITE);
  }
}

TEST_CASE("a later knote is not told what happened before it") {
  const file_under_watch f(NOTE_WRITE);
  write_at(f.path, 10, "a");
  const opened again(f.path);
  REQUIRE(f.kq.apply(again.fd(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE | NOTE_EXTEND) == 0);
  const event_list got = f.kq.next();
  REQUIRE(got.size() == 1);
  CHECK(got[0].ident == static_cast<std::uint64_t>(f.fd));
  write_at(f.path, 0, "a");
  for (const kevent64_s& e : f.kq.next()) CHECK(e.fflags == NOTE_WRITE);
}

TEST_CASE("two kqueues watch one file") {
  const file_under_watch f(NOTE_WRITE);
  const kqueue_of_test other;
  REQUIRE(other.apply(f.fd, EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_RENAME) == 0);
  write_at(f.path, 0, "a");
  CHECK(f.told() == NOTE_WRITE);
  CHECK(other.now().empty());
  move(f.path, f.folder / "elsewhere");
  CHECK(only(other.next(), EVFILT_VNODE).fflags == NOTE_RENAME);
  CHECK(f.nothing());
}

TEST_CASE("READ and VNODE of one descriptor") {
  const file_under_watch f(NOTE_ATTRIB);
  REQUIRE(::lseek(f.fd, 0, SEEK_END) == 10);
  REQUIRE(f.kq.apply(f.fd, EVFILT_READ, EV_ADD) == 0);
  CHECK(f.nothing());
  write_at(f.path, 10, "abc");
  event_list got = f.kq.next();
  REQUIRE(got.size() == 1);
  CHECK(only(got, EVFILT_READ).data == 3);
  set_mode(f.path, 0640);
  got = f.kq.next();
  CHECK(only(got, EVFILT_READ).data == 3);
  CHECK(only(got, EVFILT_VNODE).fflags == NOTE_ATTRIB);
  REQUIRE(f.kq.apply(f.fd, EVFILT_VNODE, EV_DELETE) == 0);
  CHECK(f.kq.next().size() == 1);
  REQUIRE(f.kq.apply(f.fd, EVFILT_READ, EV_DELETE) == 0);
  CHECK(f.nothing());
}

TEST_CASE("several knotes of one descriptor, told apart by udata") {
  const file_under_watch f(NOTE_WRITE);
  const auto add = [&](unsigned notes, std::uint64_t udata) {
    return f.kq.apply(f.fd, EVFILT_VNODE, EV_ADD | EV_CLEAR | EV_UDATA_SPECIFIC, notes, 0, udata);
  };
  REQUIRE(add(NOTE_WRITE, 1) == 0);
  REQUIRE(add(NOTE_ATTRIB, 2) == 0);
  write_at(f.path, 0, "a");
  const event_list got = f.kq.next();
  REQUIRE(got.size() == 2);
  for (const kevent64_s& e : got) CHECK((e.udata == 7 || e.udata == 1));
}

TEST_CASE("a file that was removed is watched on by its descriptor") {
  const file_under_watch f(NOTE_WRITE | NOTE_DELETE);
  remove_file(f.path);
  CHECK((f.told() & NOTE_DELETE) != 0);
  const folder_of_test& folder = f.folder;
  make_file(folder / "file");  // its name is another's now
  write_at(folder / "file", 0, "a");
  CHECK(f.nothing());

  const opened removed(folder / "file", O_RDWR);
  remove_file(folder / "file");
  REQUIRE(f.kq.apply(removed.fd(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE) == 0);
  REQUIRE(::write(removed.fd(), "a", 1) == 1);
  CHECK(f.told() == NOTE_WRITE);
}

TEST_CASE("a directory that was removed can still be added") {
  const folder_under_watch f(NOTE_WRITE);
  remove_folder(f.path);
  const kqueue_of_test kq;
  CHECK(kq.apply(f.fd, EVFILT_VNODE, EV_ADD, every_note) == 0);
  CHECK(kq.now().empty());
}

TEST_CASE("what has a name can be watched: FIFOs, devices, the root") {
  const kqueue_of_test kq;
  const folder_of_test folder;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  const opened fifo(folder / "fifo", O_RDWR);
  REQUIRE(kq.apply(fifo.fd(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_DELETE) == 0);
  const opened device("/dev/null");
  CHECK(kq.apply(device.fd(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_ATTRIB) == 0);
  const opened root("/");
  CHECK(kq.apply(root.fd(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_DELETE) == 0);
  remove_file(folder / "fifo");
  CHECK((only(kq.next(), EVFILT_VNODE).fflags & NOTE_DELETE) != 0);
}

TEST_CASE("what has none cannot") {
  const kqueue_of_test kq;
  const pair_of_test sockets = pair_of_test::of_sockets();
  const pair_of_test pipe = pair_of_test::of_pipe();
  CHECK(kq.apply(sockets[0], EVFILT_VNODE, EV_ADD, NOTE_WRITE) == EINVAL);
  CHECK(kq.apply(pipe[0], EVFILT_VNODE, EV_ADD, NOTE_WRITE) == EINVAL);
  CHECK(kq.apply(kqueue_of_test().fd(), EVFILT_VNODE, EV_ADD, NOTE_WRITE) == EINVAL);
  CHECK(kq.apply(1'000'000, EVFILT_VNODE, EV_ADD, NOTE_WRITE) == EBADF);
  CHECK(kq.apply(-1, EVFILT_VNODE, EV_ADD, NOTE_WRITE) == EBADF);
  CHECK(kq.apply(pipe[0], EVFILT_VNODE, EV_DELETE) == ENOENT);
}

TEST_CASE("NOTE_FUNLOCK") {
  const file_under_watch f(NOTE_WRITE);
#if defined(__APPLE__)
  REQUIRE(f.kq.apply(f.fd, EVFILT_VNODE, EV_ADD, NOTE_FUNLOCK) == 0);
  const opened locked(f.path);
  REQUIRE(::flock(locked.fd(), LOCK_EX) == 0);
  CHECK(f.nothing());
  REQUIRE(::flock(locked.fd(), LOCK_UN) == 0);
  CHECK(f.told() == NOTE_FUNLOCK);
#else
  // Nobody tells: alone it is refused, beside others it never happens.
  CHECK(f.kq.apply(f.fd, EVFILT_VNODE, EV_ADD, NOTE_FUNLOCK) == ENOTSUP);
  const opened again(f.path);
  CHECK(f.kq.apply(again.fd(), EVFILT_VNODE, EV_ADD, NOTE_FUNLOCK) == ENOTSUP);
  CHECK(f.kq.apply(again.fd(), EVFILT_VNODE, EV_ADD, NOTE_FUNLOCK | NOTE_RENAME) == 0);
  write_at(f.path, 0, "a");
  CHECK(f.told() == NOTE_WRITE);  // the refused change changed nothing
#endif
}

TEST_CASE("a thread asleep in kevent is woken, and only by what was asked for") {
  const file_under_watch f(NOTE_RENAME);
  const opened again(f.path);
  REQUIRE(f.kq.apply(again.fd(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_ATTRIB) == 0);
  REQUIRE(f.kq.apply(again.fd(), EVFILT_VNODE, EV_ADD, NOTE_DELETE) == 0);
  std::thread other([&] {
    set_mode(f.path, 0640);
    write_at(f.path, 0, "a");
    move(f.path, f.folder / "elsewhere");
  });
  CHECK(f.told() == NOTE_RENAME);
  other.join();
}

TEST_CASE("however much happens between two calls, none is lost") {
  const file_under_watch f(NOTE_WRITE);
  const std::string path = f.folder / "other";
  make_file(path);
  const opened other(path, O_RDWR);
  const opened written(f.path, O_RDWR);
  const opened folder(f.folder.path());
  REQUIRE(f.kq.apply(other.fd(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE | NOTE_EXTEND) == 0);
  REQUIRE(f.kq.apply(folder.fd(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE) == 0);
  for (int i = 0; i < 20'000; ++i) {
    REQUIRE(::pwrite(written.fd(), "a", 1, 0) == 1);
    REQUIRE(::pwrite(other.fd(), "a", 1, 0) == 1);
  }
  make_file(f.folder / "third");
  const event_list got = f.kq.next();
  REQUIRE(got.size() == 3);
  for (const kevent64_s& e : got) CHECK((e.fflags & NOTE_WRITE) != 0);
  CHECK(f.nothing());
}

TEST_CASE("many files, each told apart") {
  const kqueue_of_test kq;
  const folder_of_test folder;
  std::vector<int> fds;
  for (std::uint64_t i = 0; i < 200; ++i) {
    const std::string path = folder / std::to_string(i).c_str();
    make_file(path);
    fds.push_back(::open(path.c_str(), O_EVTONLY));
    REQUIRE(fds.back() >= 0);
    REQUIRE(kq.apply(fds.back(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE, 0, i) == 0);
  }
  for (std::size_t i = 0; i < 200; i += 2) {
    write_at(folder / std::to_string(i).c_str(), 0, "a");
  }
  std::vector<std::uint64_t> told;
  for (event_list got = kq.now(64); !got.empty(); got = kq.now(64)) {
    for (const kevent64_s& e : got) told.push_back(e.udata);
  }
  std::sort(told.begin(), told.end());
  REQUIRE(told.size() == 100);
  for (std::size_t i = 0; i < told.size(); ++i) CHECK(told[i] == 2 * i);
  for (const int fd : fds) ::close(fd);
}

#if !defined(__APPLE__)
TEST_CASE("without a descriptor to spare: EMFILE, and later it works") {
  const kqueue_of_test kq;
  const folder_of_test folder;
  make_file(folder / "file");
  const opened file(folder / "file");
  {
    const descriptor_limit_of_test none(static_cast<rlim_t>(file.fd()) + 1);
    CHECK(kq.apply(file.fd(), EVFILT_VNODE, EV_ADD, NOTE_WRITE) == EMFILE);
  }
  REQUIRE(kq.apply(file.fd(), EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE) == 0);
  write_at(folder / "file", 0, "a");
  CHECK(kq.next().size() == 1);
}
#endif
