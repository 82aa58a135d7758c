#include "kedge/runtime/vnode.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>

#include "drain.h"
#include "file_changes.h"
#include "in_child_process.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_timeout.h"
#include "stream_pair.h"
#include "tests/temporary_folder.h"

namespace {

using namespace std::chrono_literals;
using kedge::errc;
using kedge::loop;
using kedge::open_file;
using kedge::result;
using kedge::settle;
using kedge::task;
using kedge::virtual_time;
using kedge::vnode;
using kedge::vnode_event;

task<> next_once(vnode& v, std::optional<result<vnode_event>>& out) {
  out = co_await v.next();
}

// A folder with a file of one byte.
struct one_file {
  one_file() { kedge::write_file(path, "x"); }
  temporary_folder folder;
  std::string path = folder / "file";
};

TEST_CASE("a vnode reports what happens to its file, whatever the file's name is") {
  const one_file at;
  const open_file file(at.path);
  loop l;
  const vnode v(l, file.fd());
  SUBCASE("it is written and grows") {
    kedge::write_file(at.path, "yz");
    const vnode_event e = l.run(v.next()).value();
    CHECK(e.written);
    CHECK(e.extended);
    CHECK_FALSE(e.deleted);
    CHECK_FALSE(e.renamed);
  }
  SUBCASE("its permissions change") {
    kedge::set_mode(at.path, 0640);
    const vnode_event e = l.run(v.next()).value();
    CHECK(e.attributes);
    CHECK_FALSE(e.written);
  }
  SUBCASE("it gets another name") {
    REQUIRE(::link(at.path.c_str(), (at.folder / "second").c_str()) == 0);
    const vnode_event e = l.run(v.next()).value();
    CHECK(e.links);
    CHECK_FALSE(e.deleted);
  }
  SUBCASE("it is renamed, and written under its new name") {
    const std::string other = at.folder / "other";
    kedge::move_file(at.path, other);
    CHECK(l.run(v.next()).value().renamed);
    kedge::write_file(other, "y");
    const vnode_event e = l.run(v.next()).value();
    CHECK(e.written);
    CHECK_FALSE(e.renamed);
  }
  SUBCASE("it is deleted") {
    kedge::remove_file(at.path);
    CHECK(l.run(v.next()).value().deleted);
  }
  SUBCASE("another file is renamed over it") {
    kedge::save_atomically(at.path, "new");
    const vnode_event e = l.run(v.next()).value();
    CHECK(e.deleted);
    CHECK_FALSE(e.written);
  }
}

TEST_CASE("a vnode of a directory reports that its entries have changed") {
  const one_file at;
  const open_file folder(at.folder.path());
  loop l;
  const vnode v(l, folder.fd());
  kedge::remove_file(at.path);
  CHECK(l.run(v.next()).value().written);
}

TEST_CASE("what happens between two waits is reported once, with all that has happened") {
  const one_file at;
  const open_file file(at.path);
  loop l;
  vnode v(l, file.fd());
  kedge::write_file(at.path, "y");
  settle(l);
  kedge::write_file(at.path, "z");
  kedge::set_mode(at.path, 0640);
  settle(l);
  const vnode_event e = l.run(v.next()).value();
  CHECK(e.written);
  CHECK(e.attributes);
  std::optional<result<vnode_event>> more;
  l.spawn(next_once(v, more));
  settle(l);
  CHECK_FALSE(more);
}

TEST_CASE("each vnode of an fd receives what happens, on one loop and on another") {
  const one_file at;
  const open_file file(at.path);
  loop l, m;
  const vnode a(l, file.fd()), b(l, file.fd()), c(m, file.fd());
  kedge::write_file(at.path, "y");
  CHECK(l.run(a.next()).value().written);
  CHECK(l.run(b.next()).value().written);
  CHECK(m.run(c.next()).value().written);
}

TEST_CASE("a change after three cancelled waits is reported by the next one") {
  const one_file at;
  const open_file file(at.path);
  virtual_time time;
  loop l(time);
  const vnode v(l, file.fd());
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(l.run(kedge::with_timeout(1us, v.next())).error() == errc::timed_out);
  }
  kedge::write_file(at.path, "y");
  CHECK(l.run(v.next()).value().written);
}

TEST_CASE("a vnode of what is not a file in a file system throws the kernel's error") {
  loop l;
  const auto refusal_of = [&](int fd) {
    try {
      const vnode v(l, fd);
    } catch (const std::system_error& e) {
      return e.code();
    }
    return std::error_code();
  };
  const auto sockets = kedge::socket_pair();
  CHECK(refusal_of(sockets[0]) == std::errc::invalid_argument);
  for (const int fd : sockets) ::close(fd);
  CHECK(refusal_of(sockets[0]) == std::errc::bad_file_descriptor);
  CHECK(refusal_of(-1) == std::errc::bad_file_descriptor);
  // The number can be watched once it is a file.
  const one_file at;
  const open_file file(at.path);
  CHECK_FALSE(refusal_of(file.fd()));
}

TEST_CASE("a second task that waits for a vnode gets already_awaited") {
  const one_file at;
  const open_file file(at.path);
  loop l;
  vnode v(l, file.fd());
  std::optional<result<vnode_event>> first, second;
  l.spawn(next_once(v, first));
  l.spawn(next_once(v, second));
  l.poll();
  REQUIRE(second);
  CHECK(second->error() == errc::already_awaited);
  kedge::write_file(at.path, "y");
  kedge::drain(l);
  CHECK(first->value().written);
}

TEST_CASE(
    "a vnode destroyed during a wait, or before an awaitable is awaited, gives errc::closed") {
  const one_file at;
  const open_file file(at.path);
  loop l;
  auto v = std::make_unique<vnode>(l, file.fd());
  auto before = v->next();
  std::optional<result<vnode_event>> got;
  l.spawn(next_once(*v, got));
  l.poll();
  v.reset();
  kedge::drain(l);
  REQUIRE(got);
  CHECK(got->error() == errc::closed);
  CHECK(l.run(std::move(before)).error() == errc::closed);
}

TEST_CASE("a vnode that outlives its loop, or is in a forked child, reports loop_gone") {
  const one_file at;
  const open_file file(at.path);
  auto l = std::make_unique<loop>();
  const vnode v(*l, file.fd());
  SUBCASE("the loop is destroyed") {
    l->spawn(v.next());
    l->poll();
    l.reset();
    loop other;
    CHECK(other.run(v.next()).error() == errc::loop_gone);
  }
  SUBCASE("the process is forked") {
    const int status = kedge::status_of_child([&] {
      loop own;
      return own.run(v.next()).error() == errc::loop_gone ? 0 : 1;
    });
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    kedge::write_file(at.path, "y");
    CHECK(l->run(v.next()).value().written);
  }
}

TEST_CASE("a dump says which file is waited for, and an error names the vnode") {
  const one_file at;
  const open_file file(at.path);
  loop l;
  auto v = std::make_unique<vnode>(l, file.fd());
  std::optional<result<vnode_event>> got;
  l.spawn(next_once(*v, got));
  l.poll();
  kedge::description line;
  v->next().operator co_await().describe(line);
  CHECK(std::string(line.text()) == "a change of the file of fd " + std::to_string(file.fd()));
  v.reset();
  kedge::drain(l);
  try {
    static_cast<void>(got->value());
    FAIL("a value");
  } catch (const std::system_error& e) {
    CHECK(std::string(e.what()).starts_with("vnode::next fd " + std::to_string(file.fd())));
  }
}

}  // namespace
