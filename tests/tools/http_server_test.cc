// tools/examples/http_server, as its clients use it, and as those that mean harm do.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "program.h"
#include "tests/temporary_folder.h"

namespace {

const std::string http_server = "tools/examples/http_server";
const std::string greeting = "hello, world\n";  // 13 bytes

// A TCP connection that blocks.
class client {
 public:
  explicit client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0;
  }
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  ~client() { ::close(fd_); }

  bool is_connected() const noexcept { return is_connected_; }
  // Returns false if the connection is over.
  bool send(std::string_view text) const {
    return ::send(fd_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
  }
  void end() const { ::shutdown(fd_, SHUT_WR); }
  // Reads `size` bytes, or to the end.
  std::string read(std::size_t size) const {
    std::string all(size, '\0');
    const ssize_t n = ::recv(fd_, all.data(), size, MSG_WAITALL);
    all.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return all;
  }
  std::string read_to_end() const {
    std::string all;
    for (std::string part; !(part = read(65536)).empty();) all += part;
    return all;
  }
  // Reads the head of an answer.
  std::string read_head() const {
    std::string all;
    for (std::string part; !all.ends_with("\r\n\r\n") && !(part = read(1)).empty();) all += part;
    return all;
  }
  // Waits until the peer has reset the connection, and reads nothing.
  void await_reset() const {
    pollfd end{fd_, 0, 0};
    CHECK(::poll(&end, 1, -1) == 1);
    CHECK((end.revents & POLLERR) != 0);
  }
  void reset() const {
    constexpr linger at_once{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  }

 private:
  int fd_;
  bool is_connected_ = false;
};

std::string status_of(const std::string& answer) {
  return answer.starts_with("HTTP/1.1 ") ? answer.substr(9, 3) : "none";
}

// A folder with files, and a server of it.
class site {
 public:
  explicit site(const std::vector<std::string>& options = {}, const std::string& limit = {}) {
    write("hello.txt", greeting);
    write("index.html", "<p>the root");
    write("empty", "");
    write(".hidden", "hidden");
    write("a b", "a blank");
    ::mkdir((folder / "root/sub").c_str(), 0755);
    write("sub/index.html", "<p>below");
    std::ofstream(folder / "secret") << "secret";
    ::symlink("../secret", (folder / "root/link").c_str());
    ::symlink("..", (folder / "root/up").c_str());
    ::mkfifo((folder / "root/fifo").c_str(), 0644);
    std::vector<std::string> command{http_server, "--root", folder / "root", "--port", "0"};
    command.insert(command.end(), options.begin(), options.end());
    if (!limit.empty()) {
      command.insert(command.begin(), {"/bin/sh", "-c", limit + "; exec \"$0\" \"$@\""});
    }
    server = std::make_unique<program>(command);
    REQUIRE(server->read_until("\n"));
    const std::string& said = server->output();
    port = static_cast<std::uint16_t>(std::atoi(said.substr(said.rfind(':') + 1).c_str()));
  }

  void write(const std::string& name, const std::string& text) const {
    ::mkdir((folder / "root").c_str(), 0755);
    std::ofstream(folder / ("root/" + name).c_str()) << text;
  }
  // A file that uses no disk.
  void write_large(const std::string& name, long size) const {
    write(name, "");
    REQUIRE(::truncate((folder / ("root/" + name).c_str()).c_str(), size) == 0);
  }
  // Sends the text, and ends. Returns all that is answered.
  std::string ask(std::string_view text) const {
    const client c(port);
    c.send(text);
    c.end();
    return c.read_to_end();
  }
  std::string get(const std::string& path, const std::string& fields = {}) const {
    return ask("GET " + path + " HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n");
  }
  // Asks until the server has noticed that earlier clients have gone.
  void await_service() const {
    int tries = 0;
    while (status_of(get("/hello.txt")) != "200") REQUIRE(++tries < 10'000);
  }
  // Stops the server. Returns what it wrote to stderr.
  std::string stop() const {
    server->signal(SIGTERM);
    const outcome o = server->finish();
    CHECK(o.status == 0);
    return o.err;
  }

  temporary_folder folder;
  std::unique_ptr<program> server;
  std::uint16_t port;
};

std::string body_of(const std::string& answer) {
  const std::size_t end = answer.find("\r\n\r\n");
  return end == answer.npos ? "" : answer.substr(end + 4);
}
// Returns the value of a field of an answer, or "".
std::string field_of(const std::string& answer, const std::string& name) {
  const std::size_t at = answer.find("\r\n" + name + ": ");
  if (at == answer.npos || at > answer.find("\r\n\r\n")) return "";
  const std::size_t begin = at + name.size() + 4;
  return answer.substr(begin, answer.find("\r\n", begin) - begin);
}
std::size_t count(std::string_view text, std::string_view what) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += what.size()) ++n;
  return n;
}

const std::string request = "GET /hello.txt HTTP/1.1\r\nHost: a\r\n\r\n";

}  // namespace

TEST_CASE("http_server gives files, with what a client needs to know of them") {
  const site s;
  const std::string answer = s.get("/hello.txt?a=b");
  CHECK(status_of(answer) == "200");
  CHECK(body_of(answer) == greeting);
  CHECK(field_of(answer, "Content-Length") == "13");
  CHECK(field_of(answer, "Content-Type") == "text/plain; charset=utf-8");
  CHECK(field_of(answer, "Accept-Ranges") == "bytes");
  CHECK(field_of(answer, "ETag").size() > 2);
  CHECK(field_of(answer, "Last-Modified").ends_with(" GMT"));
  CHECK(field_of(answer, "Date").size() == std::string("Sun, 06 Nov 1994 08:49:37 GMT").size());
  CHECK(body_of(s.get("/")) == "<p>the root");
  CHECK(body_of(s.get("/sub/")) == "<p>below");
  CHECK(body_of(s.get("//sub//index.html")) == "<p>below");
  CHECK(body_of(s.get("/a%20b")) == "a blank");
  CHECK(field_of(s.get("/a%20b"), "Content-Type") == "application/octet-stream");
  CHECK(status_of(s.get("/empty")) == "200");
  CHECK(field_of(s.get("/empty"), "Content-Length") == "0");
  CHECK(body_of(s.get("http://example.org/hello.txt")) == greeting);
  CHECK(field_of(s.get("/sub"), "Location") == "./sub/");
  CHECK(field_of(s.get("//sub"), "Location") == "./sub/");
  const std::string head = s.ask("HEAD /hello.txt HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(field_of(head, "Content-Length") == "13");
  CHECK(field_of(head, "ETag") == field_of(answer, "ETag"));
  CHECK(head.ends_with("\r\n\r\n"));
  s.write_large("large", 5'000'000);
  CHECK(body_of(s.get("/large")) == std::string(5'000'000, '\0'));
  CHECK(s.stop().empty());
}

TEST_CASE("http_server gives nothing outside of its folder, and nothing hidden") {
  const site s;
  for (const char* path :
       {"/nothing",     "/../secret",         "/sub/../../secret", "/%2e%2e/secret",
        "/%2E./secret", "/..%2fsecret",       "/sub%2findex.html", "/link",
        "/up/secret",   "/up/root/hello.txt", "/.hidden",          "/./hello.txt",
        "/fifo",        "/hello.txt/",        "/hello.txt/x",      "/..",
        "/...",         "/etc/passwd",        "//etc/passwd",      "/..\\secret"}) {
    CAPTURE(path);
    const std::string answer = s.get(path);
    CHECK(status_of(answer) == "404");
    CHECK(answer.find("secret") == answer.npos);
  }
  // A folder that has been served is exchanged for a link.
  CHECK(status_of(s.get("/sub/index.html")) == "200");
  const std::string inside = s.folder / "root/sub";
  const std::string outside = s.folder / "outside";
  REQUIRE(::rename(inside.c_str(), outside.c_str()) == 0);
  REQUIRE(::symlink(outside.c_str(), inside.c_str()) == 0);
  CHECK(status_of(s.get("/sub/index.html")) == "404");
  CHECK(s.stop().empty());
}

TEST_CASE("http_server answers what is wrong by its status, and takes nothing behind it") {
  const site s;
  const std::string host = " HTTP/1.1\r\nHost: a\r\n";
  const std::string get = "GET /hello.txt" + host;
  const std::string many(101, 'x');
  std::string fields;
  for (int i = 0; i < 101; ++i) fields += "A: b\r\n";
  const std::vector<std::pair<const char*, std::string>> rows{
      {"400", "GET /hello.txt HTTP/1.1\r\n\r\n"},
      {"400", get + "Host: a\r\n\r\n"},
      {"400", "GET /hello.txt HTTP/1.1\r\nHost: a b\r\n\r\n"},
      {"400", "GET /hello.txt HTTP/1.1\r\nHost:\r\n\r\n"},
      {"400", "GET /hello.txt\r\n\r\n"},
      {"400", "GET  /hello.txt" + host + "\r\n"},
      {"400", "GET hello.txt" + host + "\r\n"},
      {"400", "GET ftp://a/hello.txt" + host + "\r\n"},
      {"400", "GET http:///hello.txt" + host + "\r\n"},
      {"400", "GET /hello.txt#a" + host + "\r\n"},
      {"400", "GET /\x01" + host + "\r\n"},
      {"400", "GET /hello.txt HTTP/1.1x\r\nHost: a\r\n\r\n"},
      {"400", "GET /hello.txt http/1.1\r\nHost: a\r\n\r\n"},
      {"400", "G(T /hello.txt" + host + "\r\n"},
      {"400", get + "A b\r\n\r\n"},
      {"400", get + "A : b\r\n\r\n"},
      {"400", get + ": b\r\n\r\n"},
      {"400", get + "A: b\r\n c\r\n\r\n"},
      {"400", get + "A: b\nC: d\r\n\r\n"},
      {"400", get + "A: b\rC: d\r\n\r\n"},
      {"400", get + std::string("A: \0\r\n\r\n", 8)},
      {"400", get + "Content-Length: +5\r\n\r\nhello"},
      {"400", get + "Content-Length: -5\r\n\r\nhello"},
      {"400", get + "Content-Length: 5, 5\r\n\r\nhello"},
      {"400", get + "Content-Length: 0x5\r\n\r\nhello"},
      {"400", get + "Content-Length:\r\n\r\nhello"},
      {"400", get + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
      {"411", get + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {"411", get + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {"501", get + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
      {"413", get + "Content-Length: 65537\r\n\r\n"},
      {"413", get + "Content-Length: 99999999999999999999999999\r\n\r\n"},
      {"414", "GET /" + std::string(4096, 'a') + host + "\r\n"},
      {"414", "GET /" + std::string(9000, 'a') + host + "\r\n"},
      {"417", get + "Expect: 200-ok\r\n\r\n"},
      {"431", get + fields + "\r\n"},
      {"431", get + "A: " + std::string(9000, 'a') + "\r\n\r\n"},
      {"505", "GET /hello.txt HTTP/2.0\r\nHost: a\r\n\r\n"},
  };
  for (const auto& [status, text] : rows) {
    CAPTURE(text);
    const std::string answer = s.ask(text + request);
    CHECK(status_of(answer) == status);
    CHECK(count(answer, "HTTP/1.1") == 1);
    CHECK(field_of(answer, "Connection") == "close");
    CHECK(body_of(answer).starts_with(status));
  }
  // The framing of these is known, and the connection goes on.
  for (const char* line : {"POST /hello.txt", "DELETE /", "OPTIONS *", "CONNECT a:80", "get /"}) {
    CAPTURE(line);
    const std::string answer = s.ask(line + host + "Content-Length: 5\r\n\r\nhello" + request);
    CHECK(status_of(answer) == "405");
    CHECK(field_of(answer, "Allow") == "GET, HEAD");
    CHECK(answer.ends_with(greeting));
  }
  for (const char* path : {"/%", "/%4", "/%zz", "/%00"}) {
    CAPTURE(path);
    CHECK(status_of(s.get(path)) == "400");
  }
  // Many rude clients, few lines.
  CHECK(count(s.stop(), "\n") <= 20);
}

TEST_CASE("http_server keeps connections, and answers pipelined requests in their order") {
  const site s;
  const std::string other = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string three = s.ask(request + "\r\n" + other + request);
  CHECK(count(three, "HTTP/1.1 200") == 3);
  CHECK(three.find("<p>the root") > three.find(greeting));
  CHECK(three.ends_with(greeting));
  const std::string body = "GET /hello.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\n";
  CHECK(count(s.ask(body + request.substr(0, 36) + other), "HTTP/1.1 200") == 2);
  CHECK(count(s.ask(body + "less"), "HTTP/1.1") == 1);
  // The last of a connection.
  const std::string old = "GET /hello.txt HTTP/1.0\r\n\r\n";
  const std::string last = "GET /hello.txt HTTP/1.1\r\nConnection: a, Close\r\nHost: a\r\n\r\n";
  const std::string unsure =
      "GET /hello.txt HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
  for (const std::string& each : {old, last, unsure}) {
    CAPTURE(each);
    const client c(s.port);
    c.send(each + request);  // and does not end
    const std::string answer = c.read_to_end();
    CHECK(status_of(answer) == "200");
    CHECK(count(answer, "HTTP/1.1") == 1);
    CHECK(field_of(answer, "Connection") == "close");
  }
  const client slow(s.port);
  for (const char c : request) REQUIRE(slow.send({&c, 1}));
  CHECK(status_of(slow.read_head()) == "200");
  CHECK(slow.read(greeting.size()) == greeting);
  std::string many;
  for (int i = 0; i < 2000; ++i) many += request;
  CHECK(count(s.ask(many), greeting) == 2000);
  CHECK(s.stop().empty());
}

TEST_CASE("http_server gives ranges as RFC 9110 says") {
  const site s;
  struct row {
    const char* range;
    const char* status;
    const char* body;
    const char* content_range;
  };
  const char* const whole = greeting.c_str();
  for (const row& r : {
           row{"bytes=0-4", "206", "hello", "bytes 0-4/13"},
           row{"BYTES=7-99", "206", "world\n", "bytes 7-12/13"},
           row{"bytes=12-", "206", "\n", "bytes 12-12/13"},
           row{"bytes=-6", "206", "world\n", "bytes 7-12/13"},
           row{"bytes=-99", "206", whole, "bytes 0-12/13"},
           row{"bytes=0-99999999999999999999999", "206", whole, "bytes 0-12/13"},
           row{"bytes=13-", "416", "416 Range Not Satisfiable\n", "bytes */13"},
           row{"bytes=99999999999999999999999-", "416", "416 Range Not Satisfiable\n",
               "bytes */13"},
           row{"bytes=-0", "416", "416 Range Not Satisfiable\n", "bytes */13"},
           row{"bytes=4-0", "200", whole, ""},
           row{"bytes=0-0,2-", "200", whole, ""},
           row{"bytes=-", "200", whole, ""},
           row{"bytes=a-b", "200", whole, ""},
           row{"bytes", "200", whole, ""},
           row{"lines=0-1", "200", whole, ""},
       }) {
    CAPTURE(r.range);
    const std::string answer = s.get("/hello.txt", std::string("Range: ") + r.range + "\r\n");
    CHECK(status_of(answer) == r.status);
    CHECK(body_of(answer) == r.body);
    CHECK(field_of(answer, "Content-Range") == r.content_range);
  }
  CHECK(status_of(s.get("/empty", "Range: bytes=0-0\r\n")) == "416");
  CHECK(status_of(s.get("/empty", "Range: bytes=-1\r\n")) == "200");
  const std::string head = "HEAD /hello.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0\r\n\r\n";
  CHECK(field_of(s.ask(head), "Content-Length") == "13");
  s.write_large("large", 5'000'000);
  CHECK(body_of(s.get("/large", "Range: bytes=10-1000009\r\n")) == std::string(1'000'000, '\0'));
}

TEST_CASE("http_server evaluates conditions") {
  const site s;
  const std::string answer = s.get("/hello.txt");
  const std::string tag = field_of(answer, "ETag");
  const std::string date = field_of(answer, "Last-Modified");
  const std::string past = "Sun, 06 Nov 1994 08:49:37 GMT";
  const std::string range = "Range: bytes=0-4\r\nIf-Range: ";
  const std::vector<std::pair<const char*, std::string>> rows{
      {"304", "If-None-Match: " + tag},
      {"304", "If-None-Match: W/" + tag},
      {"304", "If-None-Match: \"a\", " + tag},
      {"304", "If-None-Match: *"},
      {"200", "If-None-Match: \"a\""},
      {"200", "If-None-Match: " + tag.substr(1)},
      {"304", "If-Modified-Since: " + date},
      {"200", "If-Modified-Since: " + past},
      {"200", "If-Modified-Since: yesterday"},
      {"200", "If-None-Match: \"a\"\r\nIf-Modified-Since: " + date},
      {"200", "If-Match: " + tag},
      {"412", "If-Match: W/" + tag},
      {"412", "If-Match: \"a\""},
      {"200", "If-Match: *"},
      {"200", "If-Unmodified-Since: " + date},
      {"412", "If-Unmodified-Since: " + past},
      {"412", "If-Unmodified-Since: Sunday, 06-Nov-94 08:49:37 GMT"},
      {"412", "If-Unmodified-Since: Sun Nov  6 08:49:37 1994"},
      {"200", "If-Unmodified-Since: 1994"},
      {"206", range + tag},
      {"206", range + date},
      {"200", range + "W/" + tag},
      {"200", range + "\"a\""},
      {"200", range + past},
  };
  for (const auto& [status, fields] : rows) {
    CAPTURE(fields);
    const std::string got = s.get("/hello.txt", fields + "\r\n");
    CHECK(status_of(got) == status);
    CHECK((got.starts_with("HTTP/1.1 304") ? body_of(got) : "") == "");
  }
  s.write("hello.txt", "HELLO, WORLD\n");
  CHECK(status_of(s.get("/hello.txt", "If-None-Match: " + tag + "\r\n")) == "200");
}

TEST_CASE("http_server ends slow and idle clients, and serves the others") {
  const site s({"--timeout", "1", "--max-connections", "100"});
  std::vector<std::unique_ptr<client>> slow;
  for (int i = 0; i < 50; ++i) {
    slow.push_back(std::make_unique<client>(s.port));
    slow.back()->send("GET /hello.txt HTTP/1.1\r\nHost: ");
  }
  const client idle(s.port);
  const client half(s.port);
  half.send("GET /hello.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
  CHECK(status_of(s.get("/hello.txt")) == "200");
  for (const auto& each : slow) CHECK(status_of(each->read_to_end()) == "408");
  CHECK(idle.read_to_end().empty());
  CHECK(half.read_to_end().ends_with(greeting));
  const std::string said = s.stop();
  CHECK(said.find("408 Request Timeout") != said.npos);
  CHECK(count(said, "\n") <= 3);
}

TEST_CASE("http_server bounds what a client makes it hold that does not read") {
  const site s({"--timeout", "1"});
  s.write_large("large", 1'000'000'000);
  const client large(s.port);
  large.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
  // It stops reading requests whose answers are not read.
  const client pipelining(s.port);
  std::size_t sent = 0;
  while (sent < 100'000'000 && pipelining.send(request)) sent += request.size();
  CHECK(sent < 100'000'000);
  large.await_reset();
  CHECK(status_of(s.get("/hello.txt")) == "200");
  const std::string said = s.stop();
  CHECK(said.find("does not read its answer") != said.npos);
  CHECK(count(said, "\n") <= 3);
}

TEST_CASE("http_server resets an answer whose file becomes shorter") {
  const site s;
  s.write_large("large", 1'000'000'000);
  const client c(s.port);
  c.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(status_of(c.read_head()) == "200");
  s.write("large", "");
  CHECK(c.read_to_end().size() < 1'000'000'000);
  const std::string said = s.stop();
  CHECK(said.find("has become shorter") != said.npos);
}

TEST_CASE("http_server outlives clients that reset") {
  const site s;
  for (int i = 0; i < 300; ++i) {
    const client c(s.port);
    if (i % 3 != 0) c.send(i % 3 == 1 ? request : "GET /");
    c.reset();
  }
  s.await_service();
  CHECK(s.stop().empty());
}

// UBSan opens a pipe to look at an object, and ends a program that has no descriptor left.
#if defined(__has_feature)
#if __has_feature(undefined_behavior_sanitizer)
#define LOOKS_THROUGH_PIPES 1
#endif
#endif
#ifndef LOOKS_THROUGH_PIPES
TEST_CASE("http_server goes on without descriptors, and says so") {
  const site s({}, "ulimit -n 40");
  {
    std::vector<std::unique_ptr<client>> crowd;
    for (int i = 0; i < 60; ++i) crowd.push_back(std::make_unique<client>(s.port));
    std::size_t served = 0;
    std::size_t refused = 0;
    for (const auto& each : crowd) {
      each->send(request);
      each->end();
      const std::string answer = each->read_to_end();
      served += status_of(answer) == "200";
      refused += status_of(answer) == "none" || status_of(answer) == "503";
    }
    CHECK(served > 0);
    CHECK(refused > 0);
    CHECK(served + refused == crowd.size());
  }
  s.await_service();
  const std::string said = s.stop();
  CHECK(said.find("lacks descriptors") != said.npos);
  CHECK(count(said, "\n") <= 4);
}
#endif

TEST_CASE("http_server finishes its answers on SIGTERM, and ends at once on a second one") {
  for (const bool is_patient : {true, false}) {
    CAPTURE(is_patient);
    const site s;
    s.write_large("large", 50'000'000);
    const client idle(s.port);
    const client reading(s.port);
    reading.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    const std::string head = reading.read_head();
    CHECK(status_of(head) == "200");
    s.server->signal(SIGTERM);
    CHECK(idle.read_to_end().empty());
    CHECK(!client(s.port).is_connected());
    if (is_patient) {
      CHECK(reading.read(50'000'000).size() == 50'000'000);
      CHECK(reading.read_to_end().empty());
    } else {
      s.server->signal(SIGTERM);
    }
    const outcome o = s.server->finish();
    CHECK(o.status == (is_patient ? 0 : 128 + SIGTERM));
    CHECK(o.out.ends_with("answered 1 requests, cut off 0 connections\n") == is_patient);
    CHECK(o.err.empty());
  }
}

TEST_CASE("http_server says what it takes, and what is wrong with it") {
  const outcome help = run({http_server, "--help"});
  CHECK(help.status == 0);
  CHECK(help.out.starts_with("usage: http_server [OPTION...]\n"));
  const auto complaint = [](const std::vector<std::string>& options, int status) {
    std::vector<std::string> command{http_server};
    command.insert(command.end(), options.begin(), options.end());
    const outcome o = run(command);
    CHECK(o.status == status);
    return o.err;
  };
  CHECK(complaint({"--prot", "80"}, 2) == "http_server: --prot is no option: see --help\n");
  CHECK(complaint({"--port"}, 2) == "http_server: --port lacks its value: see --help\n");
  CHECK(complaint({"--port", "65536"}, 2) == "http_server: --port takes 0 to 65535, not 65536\n");
  CHECK(complaint({"--max-connections", "0"}, 2) ==
        "http_server: --max-connections takes 1 to 1000000, not 0\n");
  CHECK(complaint({"--root", "/nowhere"}, 1) ==
        "http_server: root /nowhere: No such file or directory\n");
  const site s;
  const std::string port = std::to_string(s.port);
  CHECK(complaint({"--port", port}, 1).find("Address already in use") != std::string::npos);
}

TEST_CASE("curl gets files of http_server, parts of them, and what has changed") {
  if (run({"/bin/sh", "-c", "command -v curl"}).status != 0) {
    MESSAGE("skipped: curl is not installed");
    return;
  }
  const site s;
  s.write_large("large", 3'000'000);
  const std::string url = "http://127.0.0.1:" + std::to_string(s.port);
  const auto curl = [&](const std::string& arguments) {
    const outcome o =
        run({"/bin/sh", "-c", "cd '" + s.folder.path() + "' && curl -sS " + arguments});
    CHECK(o.err == "");
    return o.out;
  };
  const std::string code = "-o /dev/null -w '%{http_code} %{size_download}' ";
  CHECK(curl(url + "/hello.txt") == greeting);
  CHECK(curl(url + "/hello.txt " + url + "/hello.txt -w '%{num_connects} '") ==
        greeting + "1 " + greeting + "0 ");
  CHECK(curl("-r 7-11 " + url + "/hello.txt") == "world");
  CHECK(curl("-L " + url + "/sub") == "<p>below");
  CHECK(curl(code + "-0 " + url + "/hello.txt") == "200 13");
  CHECK(curl(code + "-I " + url + "/large") == "200 0");
  CHECK(curl("-o part -r 0-999999 " + url + "/large && curl -sS -C - -o part " + url +
             "/large && cmp part root/large && echo same") == "same\n");
  CHECK(curl("-R -o copy " + url + "/large && curl -sS -z copy " + code + url + "/large") ==
        "304 0");
  CHECK(curl("--etag-save tag -o copy " + url + "/large && curl -sS --etag-compare tag " + code +
             url + "/large") == "304 0");
  CHECK(curl(code + "--path-as-is " + url + "/../secret") == "404 14");
  CHECK(curl(code + "-d name=value " + url + "/hello.txt").starts_with("405"));
  CHECK(curl(code + "-T copy -H 'Expect: 100-continue' " + url + "/new").starts_with("413"));
}
