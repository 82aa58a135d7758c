#include "kedge/runtime/watch_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>

#include "drain.h"
#include "file_changes.h"
#include "in_child_process.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/virtual_time.h"
#include "kedge/runtime/with_timeout.h"
#include "tests/temporary_folder.h"

namespace {

using namespace std::chrono_literals;
using kedge::errc;
using kedge::file_change;
using kedge::loop;
using kedge::open_file;
using kedge::result;
using kedge::settle;
using kedge::task;
using kedge::virtual_time;
using kedge::watch_file;

using change_result = std::optional<result<file_change>>;

task<> next_once(watch_file& w, change_result& out) {
  out = co_await w.next();
}

// "a/b/file" in a folder.
struct nested_file {
  nested_file() {
    kedge::make_folder(a);
    kedge::make_folder(b);
    kedge::write_file(path, "x");
  }
  temporary_folder folder;
  std::string a = folder / "a";
  std::string b = folder / "a/b";
  std::string path = folder / "a/b/file";
};

// A watch and a task that waits.
struct watching {
  explicit watching(const std::string& path, kedge::watch_options options = {})
      : watch(in, path, options) {
    wait();
  }
  void wait() {
    got.reset();
    in.spawn(next_once(watch, got));
    settle(in);
  }
  // Requires that a change has come.
  file_change change() {
    kedge::drain(in);
    const file_change c = got->value();
    wait();
    return c;
  }
  bool is_quiet() {
    settle(in);
    return !got;
  }
  loop in;
  watch_file watch;
  change_result got;
};

void check_replaced(const file_change& c) {
  CHECK(c.exists);
  CHECK(c.replaced);
}
void check_written(const file_change& c) {
  CHECK(c.exists);
  CHECK_FALSE(c.replaced);
  CHECK(c.written);
}

TEST_CASE("a write and a change of permissions are reported, and the file is the same") {
  const nested_file at;
  watching w(at.path);
  CHECK(w.is_quiet());
  kedge::write_file(at.path, "y");
  check_written(w.change());
  kedge::set_mode(at.path, 0640);
  const file_change c = w.change();
  CHECK(c.attributes);
  CHECK(c.exists);
  CHECK_FALSE(c.written);
  CHECK_FALSE(c.replaced);
  CHECK(w.is_quiet());
}

TEST_CASE("a watch goes on after each of three atomic saves") {
  const nested_file at;
  watching w(at.path);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    kedge::save_atomically(at.path, "new");
    check_replaced(w.change());
    kedge::write_file(at.path, "more");
    check_written(w.change());
  }
}

TEST_CASE("a file that is deleted and comes back is reported twice, and is watched again") {
  const nested_file at;
  watching w(at.path);
  kedge::remove_file(at.path);
  const file_change gone = w.change();
  CHECK_FALSE(gone.exists);
  CHECK_FALSE(gone.replaced);
  CHECK(w.is_quiet());
  kedge::write_file(at.path, "back");
  check_replaced(w.change());
  kedge::write_file(at.path, "more");
  check_written(w.change());
}

TEST_CASE("a file that is deleted and comes back between two waits is reported as replaced") {
  const nested_file at;
  loop l;
  const watch_file w(l, at.path);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    kedge::remove_file(at.path);
    kedge::write_file(at.path, "back");
    check_replaced(l.run(w.next()).value());
  }
}

TEST_CASE("a parent that is renamed takes the file away, and brings it back unchanged") {
  const nested_file at;
  const std::string& parent = [&]() -> const std::string& {
    SUBCASE("the nearest one") {
      return at.b;
    }
    SUBCASE("the one above") {
      return at.a;
    }
    return at.a;
  }();
  watching w(at.path);
  const std::string elsewhere = at.folder / "elsewhere";
  kedge::move_file(parent, elsewhere);
  CHECK_FALSE(w.change().exists);
  // What happens elsewhere does not concern the path.
  const bool is_nearest = parent == at.b;
  kedge::write_file(elsewhere + (is_nearest ? "/file" : "/b/file"), "y");
  CHECK(w.is_quiet());
  kedge::move_file(elsewhere, parent);
  check_replaced(w.change());
  kedge::write_file(at.path, "z");
  check_written(w.change());
}

TEST_CASE("a whole tree that is removed and made again is followed, step by step") {
  const nested_file at;
  watching w(at.path);
  kedge::remove_file(at.path);
  kedge::remove_folder(at.b);
  kedge::remove_folder(at.a);
  CHECK_FALSE(w.change().exists);
  const bool stepwise = [] {
    SUBCASE("the watch looks at every step") {
      return true;
    }
    SUBCASE("the watch looks at the end") {}
    return false;
  }();
  kedge::make_folder(at.a);
  if (stepwise) CHECK(w.is_quiet());
  kedge::make_folder(at.b);
  if (stepwise) CHECK(w.is_quiet());
  kedge::write_file(at.path, "back");
  check_replaced(w.change());
}

TEST_CASE("the folder of a missing file is removed and made again, and the file is found in it") {
  const nested_file at;
  watching w(at.path);
  kedge::remove_file(at.path);
  CHECK_FALSE(w.change().exists);
  kedge::remove_folder(at.b);
  CHECK(w.is_quiet());
  kedge::make_folder(at.b);
  CHECK(w.is_quiet());
  kedge::write_file(at.path, "back");
  check_replaced(w.change());
}

TEST_CASE("a symbolic link on the way that points elsewhere names another file") {
  const nested_file at;
  const std::string other = at.folder / "other";
  kedge::make_folder(other);
  kedge::write_file(other + "/file", "z");
  const std::string link = at.folder / "link";
  SUBCASE("a link to a directory, relative") {
    kedge::make_symlink("a/b", link);
    watching w(link + "/file");
    kedge::make_symlink("a/../other/.", link + ".new");
    kedge::move_file(link + ".new", link);
    check_replaced(w.change());
    kedge::write_file(other + "/file", "more");
    check_written(w.change());
    kedge::write_file(at.path, "more");
    CHECK(w.is_quiet());
  }
  SUBCASE("a link to the file, absolute") {
    kedge::make_symlink(at.path, link);
    watching w(link);
    kedge::save_atomically(at.path, "new");
    check_replaced(w.change());
    kedge::make_symlink(other + "/file", link + ".new");
    kedge::move_file(link + ".new", link);
    check_replaced(w.change());
    kedge::remove_file(link);
    CHECK_FALSE(w.change().exists);
  }
}

TEST_CASE("a directory is followed like a file, and reports changes of its entries") {
  const nested_file at;
  watching w(at.b + "/../b/");
  kedge::write_file(at.b + "/second", "x");
  check_written(w.change());
  const std::string elsewhere = at.folder / "elsewhere";
  kedge::move_file(at.b, elsewhere);
  CHECK_FALSE(w.change().exists);
  kedge::make_folder(at.b);
  check_replaced(w.change());
  kedge::write_file(at.path, "x");
  check_written(w.change());
}

TEST_CASE("other entries of the folders on the way end no wait") {
  const nested_file at;
  watching w(at.path);
  for (const std::string& folder : {at.folder.path(), at.a, at.b}) {
    kedge::write_file(folder + "/other", "x");
    CHECK(w.is_quiet());
    kedge::remove_file(folder + "/other");
    CHECK(w.is_quiet());
  }
}

TEST_CASE("a relative path is followed from the folder that was the current one") {
  const nested_file at;
  const open_file before(".");
  REQUIRE(::chdir(at.a.c_str()) == 0);
  watching w("b/file");
  REQUIRE(::fchdir(before.fd()) == 0);
  kedge::save_atomically(at.path, "new");
  check_replaced(w.change());
}

TEST_CASE("a path that names nothing is an error that names it, unless it may be missing") {
  loop l;
  const nested_file at;
  const auto refusal = [&](std::string_view path, kedge::watch_options options = {}) {
    try {
      const watch_file w(l, path, options);
    } catch (const std::system_error& e) {
      if (!path.empty()) CHECK(std::string(e.what()).find(path) != std::string::npos);
      return e.code();
    }
    return std::error_code();
  };
  const std::string loop_link = at.folder / "loop";
  kedge::make_symlink("loop", loop_link);
  CHECK(refusal(at.b + "/missing") == std::errc::no_such_file_or_directory);
  CHECK(refusal(at.a + "/missing/file") == std::errc::no_such_file_or_directory);
  CHECK(refusal(at.path + "/below") == std::errc::not_a_directory);
  for (const bool may_be_missing : {false, true}) {
    CAPTURE(may_be_missing);
    CHECK(refusal(loop_link, {may_be_missing}) == std::errc::too_many_symbolic_link_levels);
    CHECK(refusal("", {may_be_missing}) == std::errc::invalid_argument);
  }
  CHECK_THROWS_AS(watch_file(l, std::string_view("/\0x", 3)), std::system_error);
  CHECK_FALSE(refusal(at.b + "/missing", {.may_be_missing = true}));
  CHECK_FALSE(refusal(at.path));
}

TEST_CASE("a path that may be missing is waited for, with its directories") {
  const temporary_folder folder;
  const std::string path = folder / "new/deep/file";
  watching w(path, {.may_be_missing = true});
  kedge::make_folder(folder / "new");
  CHECK(w.is_quiet());
  kedge::make_folder(folder / "new/deep");
  CHECK(w.is_quiet());
  kedge::write_file(path, "x");
  check_replaced(w.change());
}

TEST_CASE("without a free descriptor a wait gives EMFILE, and the next one loses nothing") {
  const nested_file at;
  loop l;
  const watch_file w(l, at.path);
  kedge::save_atomically(at.path, "new");
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{0, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const result<file_change> refused = l.run(w.next());
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(refused.error() == std::errc::too_many_files_open);
  check_replaced(l.run(w.next()).value());
}

TEST_CASE("a change after three cancelled waits is reported by the next one") {
  const nested_file at;
  virtual_time time;
  loop l(time);
  const watch_file w(l, at.path);
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(l.run(kedge::with_timeout(1us, w.next())).error() == errc::timed_out);
  }
  kedge::save_atomically(at.path, "new");
  check_replaced(l.run(w.next()).value());
}

TEST_CASE("a watch that is gone keeps no descriptor") {
  const nested_file at;
  loop l;
  const auto lowest_free = [] {
    const int fd = ::open("/", O_RDONLY | O_CLOEXEC);
    ::close(fd);
    return fd;
  };
  {
    const watch_file first(l, at.path);
  }  // the kqueue may keep one for all
  const int before = lowest_free();
  {
    watching w(at.path);
    kedge::save_atomically(at.path, "new");
    check_replaced(w.change());
    CHECK(lowest_free() > before);
  }
  CHECK(lowest_free() == before);
}

TEST_CASE(
    "a watch_file destroyed during a wait gives errc::closed, a second task already_awaited") {
  const nested_file at;
  loop l;
  auto w = std::make_unique<watch_file>(l, at.path);
  auto before = w->next();
  change_result got, second;
  l.spawn(next_once(*w, got));
  l.spawn(next_once(*w, second));
  l.poll();
  CHECK(second->error() == errc::already_awaited);
  w.reset();
  kedge::drain(l);
  CHECK(got->error() == errc::closed);
  CHECK(l.run(std::move(before)).error() == errc::closed);
}

TEST_CASE("a watch_file that outlives its loop, or is in a forked child, reports loop_gone") {
  const nested_file at;
  auto l = std::make_unique<loop>();
  const watch_file w(*l, at.path);
  SUBCASE("the loop is destroyed") {
    l->spawn(w.next());
    l->poll();
    l.reset();
    loop other;
    CHECK(other.run(w.next()).error() == errc::loop_gone);
  }
  SUBCASE("the process is forked") {
    const int status = kedge::status_of_child([&] {
      loop own;
      return own.run(w.next()).error() == errc::loop_gone ? 0 : 1;
    });
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    kedge::write_file(at.path, "y");
    check_written(l->run(w.next()).value());
  }
}

TEST_CASE("a file that this user may not read is an error, and such a folder is passed over") {
  // In a child, which may be another user.
  const nested_file at;
  REQUIRE(::chmod(at.folder.path().c_str(), 0711) == 0);
  REQUIRE(::chmod(at.a.c_str(), 0711) == 0);
  REQUIRE(::chmod(at.b.c_str(), 0777) == 0);
  const std::string secret = at.b + "/secret";
  kedge::write_file(secret, "x");
  kedge::set_mode(at.path, 0644);
  const int status = kedge::status_of_child([&] {
    if (::getuid() == 0 && ::setuid(65534) != 0) return 0;
    loop l;
    try {
      const watch_file refused(l, secret);
      return ::access(secret.c_str(), R_OK) == 0 ? 0 : 1;
    } catch (const std::system_error& e) {
      if (e.code() != std::errc::permission_denied) return 2;
    }
    const watch_file w(l, at.path);
    kedge::save_atomically(at.path, "new");
    return l.run(w.next()).value().replaced ? 0 : 3;
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace
