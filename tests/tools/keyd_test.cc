// keyd: its store, journal and Mach service in this process, and the program as its clients and
// systemd use it.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

#include "kedge/mach/receive.h"
#include "kedge/mach/serve.h"
#include "kedge/mach/typed_call.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/yield.h"
#include "program.h"
#include "tests/temporary_folder.h"
#include "tools/examples/keyd_service.h"
#include "tools/examples/keyd_store.h"
#include "unix_name.h"

namespace mach = kedge::mach;
using namespace std::chrono_literals;

namespace {

using result = kedge::result<bool>;
constexpr keyd::wall_time now{1'000'000s};

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_all(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

result put(kedge::loop& l, keyd::store& s, std::string key, std::string value,
           keyd::wall_time expiry = {}) {
  return l.run(s.make({std::move(key), std::move(value), expiry, false}));
}
result remove(kedge::loop& l, keyd::store& s, std::string key) {
  return l.run(s.make({std::move(key), {}, {}, true}));
}
std::string value_of(const keyd::store& s, const std::string& key, keyd::wall_time at = now) {
  const std::string* value = s.find(key, at);
  return value == nullptr ? "(none)" : *value;
}

// Bounds the size of the files that this process writes.
class file_limit {
 public:
  explicit file_limit(rlim_t most) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_) == 0);
    const rlimit next{most, old_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &next) == 0);
  }
  file_limit(const file_limit&) = delete;
  file_limit& operator=(const file_limit&) = delete;
  ~file_limit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int) = nullptr;
};

}  // namespace

TEST_CASE("keyd's store finds after a restart what it has acknowledged") {
  const temporary_folder folder;
  kedge::loop l;
  {
    keyd::store s(folder / "j", {.sync = false});
    CHECK_FALSE(put(l, s, "a", "1").value());
    CHECK(put(l, s, "a", "2").value());
    CHECK_FALSE(put(l, s, "b", std::string("x\0y", 3)).value());
    CHECK_FALSE(put(l, s, "c", "3").value());
    CHECK(remove(l, s, "c").value());
    CHECK_FALSE(remove(l, s, "c").value());
  }
  const keyd::store s(folder / "j");
  CHECK(s.cut_off() == 0);
  CHECK(s.size() == 2);
  CHECK(value_of(s, "a") == "2");
  CHECK(value_of(s, "b") == std::string("x\0y", 3));
  CHECK(value_of(s, "c") == "(none)");
}

TEST_CASE("keyd's journal that ends at any byte has every record before it") {
  const temporary_folder folder;
  const std::string path = folder / "j";
  kedge::loop l;
  std::vector<std::size_t> sizes;  // of the journal with so many changes
  {
    keyd::store s(path, {.sync = false});
    sizes.push_back(s.journal_size());
    for (const char* value : {"1", "22", "", "4444"}) {
      REQUIRE(put(l, s, "key", value));
      sizes.push_back(s.journal_size());
    }
    REQUIRE(remove(l, s, "key"));
    sizes.push_back(s.journal_size());
  }
  const std::vector<std::string> values{"(none)", "1", "22", "", "4444", "(none)"};
  const std::string whole = read_all(path);
  REQUIRE(whole.size() == sizes.back());
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    CAPTURE(size);
    write_all(path, whole.substr(0, size));
    std::size_t made = 0;
    while (made + 1 < sizes.size() && sizes[made + 1] <= size) ++made;
    {
      keyd::store s(path, {.sync = false});
      CHECK(value_of(s, "key") == values[made]);
      CHECK(s.cut_off() == (size < sizes[0] ? size : size - sizes[made]));
      REQUIRE(put(l, s, "after", "cut"));
    }
    const keyd::store again(path);
    CHECK(again.cut_off() == 0);
    CHECK(value_of(again, "key") == values[made]);
    CHECK(value_of(again, "after") == "cut");
  }
}

TEST_CASE("keyd's journal with a changed byte ends before the record that has it") {
  const temporary_folder folder;
  const std::string path = folder / "j";
  kedge::loop l;
  std::size_t first = 0;
  {
    keyd::store s(path, {.sync = false});
    REQUIRE(put(l, s, "a", "1"));
    first = s.journal_size();
    REQUIRE(put(l, s, "b", "2"));
  }
  const std::string whole = read_all(path);
  for (std::size_t at = first; at < whole.size(); ++at) {
    CAPTURE(at);
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    write_all(path, changed);
    const keyd::store s(path);
    CHECK(value_of(s, "a") == "1");
    CHECK(value_of(s, "b") == "(none)");
    CHECK(s.cut_off() == whole.size() - first);
  }
}

TEST_CASE("keyd's store refuses a file that is no journal, and one that is open") {
  const temporary_folder folder;
  write_all(folder / "text", "something else");
  CHECK_THROWS_WITH_AS(keyd::store(folder / "text"), doctest::Contains("not a journal of keyd"),
                       std::system_error);
  CHECK(read_all(folder / "text") == "something else");
  const keyd::store s(folder / "j");
  CHECK_THROWS_WITH_AS(keyd::store(folder / "j"), doctest::Contains("another process has it open"),
                       std::system_error);
}

TEST_CASE("keyd's store does not find a key whose expiry has come, also after a restart") {
  const temporary_folder folder;
  kedge::loop l;
  {
    keyd::store s(folder / "j", {.sync = false});
    REQUIRE(put(l, s, "soon", "1", now + 1ms));
    REQUIRE(put(l, s, "later", "2", now + 1h));
    REQUIRE(put(l, s, "kept", "3", now + 1ms));
    REQUIRE(put(l, s, "kept", "4"));
    CHECK(value_of(s, "soon") == "1");
    CHECK(value_of(s, "soon", now + 1ms) == "(none)");
  }
  keyd::store s(folder / "j");
  CHECK(value_of(s, "soon", now + 1ms) == "(none)");
  CHECK(s.size() == 3);
  std::vector<std::string> gone;
  s.on_change = [&](const keyd::change& c) { gone.push_back(c.key); };
  l.run(s.expire(now + 1ms));
  CHECK(gone == std::vector<std::string>{"soon"});
  CHECK(s.size() == 2);
  CHECK(value_of(s, "later") == "2");
  CHECK(value_of(s, "kept", now + 2h) == "4");
}

TEST_CASE("keyd's store removes an expired key as one that is not there") {
  const temporary_folder folder;
  kedge::loop l;
  keyd::store s(folder / "j", {.sync = false});
  REQUIRE(put(l, s, "a", "1", now));
  CHECK_FALSE(l.run(s.make({"a", {}, {}, true}, now)).value());
  REQUIRE(put(l, s, "b", "1", now + 1ms));
  CHECK(l.run(s.make({"b", {}, {}, true}, now)).value());
  CHECK(s.size() == 0);
}

TEST_CASE("keyd's store compacts its journal, and keeps every key") {
  const temporary_folder folder;
  kedge::loop l;
  {
    keyd::store s(folder / "j", {.sync = false, .slack = 1000});
    for (int i = 0; i < 100; ++i) REQUIRE(put(l, s, "a", std::to_string(i)));
    REQUIRE(put(l, s, "b", "later", now + 1h));
    CHECK(s.needs_compaction());
    CHECK(l.run(s.compact()));
    CHECK_FALSE(s.needs_compaction());
    CHECK(s.journal_size() == read_all(folder / "j").size());
    REQUIRE(put(l, s, "c", "after"));
  }
  const keyd::store s(folder / "j");
  CHECK(s.size() == 3);
  CHECK(value_of(s, "a") == "99");
  CHECK(value_of(s, "b", now + 1h) == "(none)");
  CHECK(value_of(s, "c") == "after");
}

TEST_CASE("keyd's store refuses changes on a full disk, and loses nothing that it acknowledged") {
  const temporary_folder folder;
  kedge::loop l;
  {
    keyd::store s(folder / "j", {.sync = false});
    std::vector<bool> written;
    s.on_write = [&](std::error_code why) { written.push_back(!why); };
    REQUIRE(put(l, s, "a", "1"));
    const std::size_t size = s.journal_size();
    {
      const file_limit most(size + 10);
      const result refused = put(l, s, "b", "2");
      REQUIRE_FALSE(refused);
      CHECK(refused.error() == std::errc::file_too_large);
      CHECK(value_of(s, "a") == "1");
      CHECK(value_of(s, "b") == "(none)");
      CHECK(read_all(folder / "j").size() == size);
    }
    {
      const file_limit most(size - 1);
      CHECK_FALSE(l.run(s.compact()).has_value());
      CHECK(read_all(folder / "j").size() == size);
    }
    CHECK(put(l, s, "c", "3"));
    CHECK(written == std::vector<bool>{true, false, false, true});
  }
  const keyd::store s(folder / "j");
  CHECK(s.cut_off() == 0);
  CHECK(value_of(s, "a") == "1");
  CHECK(value_of(s, "b") == "(none)");
  CHECK(value_of(s, "c") == "3");
}

TEST_CASE("keyd's log has a line when writes begin to fail, and one when none fails any more") {
  const auto full = std::make_error_code(std::errc::no_space_on_device);
  keyd::failure_log log;
  CHECK(log.note({}, now).empty());
  CHECK(log.note(full, now).starts_with("refuses changes: cannot write the journal: "));
  CHECK(log.note({}, now + 1s).empty());
  CHECK(log.note(full, now + 9s).empty());
  CHECK(log.note({}, now + 18s).empty());
  CHECK(log.note({}, now + 19s) == "makes changes again");
  CHECK(log.note({}, now + 20s).empty());
  CHECK_FALSE(log.note(full, now + 20s).empty());
}

TEST_CASE("keyd's store bounds its memory, and makes changes that wait together") {
  const temporary_folder folder;
  kedge::loop l;
  keyd::store s(folder / "j", {.sync = true, .most_bytes = 10});
  const auto both = l.run(kedge::when_all(
      s.make({"a", "1", {}, false}), s.make({"a", "2", {}, false}), s.make({"b", "3", {}, false})));
  CHECK_FALSE(std::get<0>(both).value());
  CHECK(std::get<1>(both).value());
  CHECK_FALSE(std::get<2>(both).value());
  CHECK(value_of(s, "a") == "2");
  const result refused = put(l, s, "c", "too long");
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == std::errc::not_enough_memory);
  CHECK(remove(l, s, "a").value());
}

TEST_CASE("keyd's Mach service answers, tells watches of changes, and releases those of the dead") {
  const temporary_folder folder;
  kedge::loop l;
  keyd::store s(folder / "j", {.sync = false});
  keyd::service served(l, s);
  const auto port = mach::receive_right::make();
  const auto to = port.make_send();
  auto inbox = mach::receive_right::make();
  l.spawn(served.serve(port, {.peers = mach::same_user()}));
  l.spawn(served.release_the_dead());
  const auto use = [&]() -> kedge::task<> {
    const auto none = co_await mach::call<keyd::get>(to, "tide");
    CHECK(none.error().code() == mach::kern_error(KERN_NOT_IN_SET));
    CHECK(co_await mach::call<keyd::watch>(to, inbox.make_send()));
    CHECK(served.watches() == 1);
    CHECK(co_await mach::call<keyd::put>(to, "tide", "high", 0));
    auto told = (co_await inbox.receive()).value();
    const auto change = mach::decode<keyd::changed>(told);
    CHECK(change.value().key.view() == "tide");
    const auto high = co_await mach::call<keyd::get>(to, "tide");
    CHECK(high.value().value.view() == "high");
    inbox.destroy();
    while (served.watches() != 0) co_await kedge::yield();
  };
  l.run(use());
}

TEST_CASE("keyd's Mach service that is stopped answers the requests that have come") {
  const temporary_folder folder;
  kedge::loop l;
  keyd::store s(folder / "j", {.sync = false});
  keyd::service served(l, s);
  const auto port = mach::receive_right::make();
  const auto to = port.make_send();
  mach::serve_control control;
  const mach::serve_options options{.peers = mach::same_user(), .control = &control};
  // The service is stopped while it makes the change, before it replies.
  s.on_change = [&](const keyd::change&) { control.stop(); };
  const auto use = [&]() -> kedge::task<> {
    CHECK(co_await mach::call<keyd::put>(to, "tide", "high", 0));
  };
  const auto ended = l.run(kedge::when_all(served.serve(port, options), use()));
  const mach::serve_report& report = std::get<0>(ended);
  CHECK(report.counters.handled == 1);
  CHECK(report.stuck == 0);
  CHECK_FALSE(report.error);
  CHECK(value_of(s, "tide") == "high");
}

// --- the program --------------------------------------------------------------------------------

namespace {

const std::string keyd_program = "tools/examples/keyd";

// A listening socket that is handed over to each keyd, so that clients may connect before it runs.
class handed_socket {
 public:
  explicit handed_socket(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    const sockaddr_un name = unix_name(path);
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0);
    REQUIRE(::listen(fd_, 5) == 0);
  }
  handed_socket(const handed_socket&) = delete;
  handed_socket& operator=(const handed_socket&) = delete;
  ~handed_socket() { ::close(fd_); }
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

// Plays the service manager: a socket for the notifications of a daemon.
class manager_socket {
 public:
  explicit manager_socket(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
    const sockaddr_un name = unix_name(path);
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0);
    // A daemon that sends nothing makes the test fail after a minute.
    constexpr timeval a_minute{60, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &a_minute, sizeof(a_minute));
  }
  manager_socket(const manager_socket&) = delete;
  manager_socket& operator=(const manager_socket&) = delete;
  ~manager_socket() { ::close(fd_); }
  // Empty: nothing has come.
  std::string receive() const {
    std::string text(1000, '\0');
    const ssize_t n = ::recv(fd_, text.data(), text.size(), 0);
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }

 private:
  int fd_;
};

class text_client {
 public:
  explicit text_client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    const sockaddr_un name = unix_name(path);
    REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0);
    // A daemon that never answers makes the test fail after a minute.
    constexpr timeval a_minute{60, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &a_minute, sizeof(a_minute));
  }
  text_client(const text_client&) = delete;
  text_client& operator=(const text_client&) = delete;
  ~text_client() { ::close(fd_); }

  void send(const std::string& text) const {
    REQUIRE(::send(fd_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  }
  // Without its end. Empty: the daemon has ended the connection.
  std::string line() const {
    std::string all;
    for (char c; ::recv(fd_, &c, 1, 0) == 1 && c != '\n';) all += c;
    return all;
  }
  std::string ask(const std::string& request) const {
    send(request + "\n");
    return line();
  }

 private:
  int fd_;
};

std::vector<std::string> with_socket(const std::string& before, const std::string& journal) {
  const std::string script =
      before + "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=keyd exec $0 --no-sync $1";
  return {"/bin/sh", "-c", script, keyd_program, journal};
}

}  // namespace

TEST_CASE("keyd prints its usage, and says what is wrong with its arguments") {
  const outcome help = run({keyd_program, "--help"});
  CHECK(help.status == 0);
  CHECK(help.out.starts_with("usage: keyd "));
  struct row {
    std::vector<std::string> arguments;
    std::string error;
  };
  for (const row& r : {
           row{{}, "usage: keyd "},
           row{{"--unix"}, "usage: keyd "},
           row{{"a", "b"}, "usage: keyd "},
           row{{"--idle", "0", "j"}, "keyd: --idle 0: not a number of seconds\n"},
           row{{"--idle", "1x", "j"}, "keyd: --idle 1x: not a number of seconds\n"},
           row{{"--unix", "nowhere", "j"}, "keyd: nowhere: "},
       }) {
    CAPTURE(r.arguments);
    std::vector<std::string> command{keyd_program};
    command.insert(command.end(), r.arguments.begin(), r.arguments.end());
    const outcome o = run(command);
    CHECK(o.status == 2);
    CHECK(o.err.starts_with(r.error));
  }
  const temporary_folder folder("/tmp");
  write_all(folder / "text", "something else");
  const outcome o = run({keyd_program, "--unix", "unix:" + (folder / "s"), folder / "text"});
  CHECK(o.status == 1);
  CHECK(o.err.find("not a journal of keyd") != std::string::npos);
}

TEST_CASE("keyd keeps what it has acknowledged, through SIGKILL and SIGTERM") {
  const temporary_folder folder("/tmp");
  const std::string path = folder / "s";
  const handed_socket socket(path);
  {
    program p(with_socket("", folder / "j"), socket.fd());
    const text_client c(path);
    CHECK(c.ask("get tide") == "none");
    CHECK(c.ask("put tide very high") == "ok");
    CHECK(c.ask("get tide") == "= very high");
    CHECK(c.ask("putfor 1000 moon full") == "ok");
    CHECK(c.ask("putfor x moon full") == "error the seconds are not a number");
    CHECK(c.ask("put sun up") == "ok");
    CHECK(c.ask("del sun") == "ok");
    CHECK(c.ask("del sun") == "none");
    CHECK(c.ask("frob") == "error the key is missing");
    CHECK(c.ask("frob x").starts_with("error no such request"));
    p.signal(SIGKILL);
    CHECK(p.finish().status == 128 + SIGKILL);
  }
  program p(with_socket("", folder / "j"), socket.fd());
  const text_client c(path);
  CHECK(c.ask("get tide") == "= very high");
  CHECK(c.ask("get moon") == "= full");
  CHECK(c.ask("get sun") == "none");
  c.send("put sun down\nget sun\nhalf a line");
  p.signal(SIGTERM);
  CHECK(c.line() == "ok");
  CHECK(c.line() == "= down");
  CHECK(c.line().empty());
  const outcome o = p.finish();
  CHECK(o.status == 0);
  CHECK(o.err.empty());
}

TEST_CASE(
    "keyd compacts its journal on SIGHUP, stops its Mach service on SIGTERM, and tells both") {
  const temporary_folder folder("/tmp");
  const std::string path = folder / "s";
  const handed_socket socket(path);
  const manager_socket manager(folder / "n");
  program p(with_socket("NOTIFY_SOCKET=" + (folder / "n") + " ", folder / "j"), socket.fd());
  CHECK(manager.receive() == "READY=1");
  const text_client c(path);
  for (const char* value : {"1", "2", "3"}) CHECK(c.ask(std::string("put a ") + value) == "ok");
  p.signal(SIGHUP);
  CHECK(manager.receive().starts_with("RELOADING=1\n"));
  const std::size_t size = keyd::magic.size() + keyd::record_size("a", "3");
  const std::string counts =
      "keys=1 bytes=2 journal=" + std::to_string(size) + " requests=3 watches=0";
  CHECK(manager.receive() == "STATUS=" + counts);
  CHECK(manager.receive() == "READY=1");
  CHECK(read_all(folder / "j").size() == size);
  CHECK(c.ask("get a") == "= 3");
  p.signal(SIGTERM);
  std::string told;
  for (int i = 0; i < 2; ++i) told += manager.receive() + "\n";
  CHECK(told.find("STOPPING=1\n") != std::string::npos);
  CHECK(told.find("STATUS=answers 0 Mach requests\n") != std::string::npos);
  CHECK(p.finish().status == 0);
}

TEST_CASE("keyd on a full disk refuses changes with one line, and goes on") {
  const temporary_folder folder("/tmp");
  const std::string path = folder / "s";
  const handed_socket socket(path);
  program p(with_socket("ulimit -f 1; ", folder / "j"), socket.fd());
  const text_client c(path);
  const std::string large = "put a " + std::string(3000, 'x');
  CHECK(c.ask(large) == "error File too large");
  CHECK(c.ask("put b 2") == "ok");
  CHECK(c.ask(large) == "error File too large");
  CHECK(c.ask("get a") == "none");
  CHECK(c.ask("get b") == "= 2");
  p.signal(SIGTERM);
  const outcome o = p.finish();
  CHECK(o.status == 0);
  CHECK(o.err.starts_with("keyd: refuses changes: cannot write the journal: File too large\n"));
}
