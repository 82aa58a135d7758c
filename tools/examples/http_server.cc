// http_server: gives the files below a folder to HTTP/1.1 clients.
//
//     http_server --root ./site --port 8080
//
// GET and HEAD, with keep-alive, pipelining, ranges and conditions. It follows no symbolic link and
// serves no name that begins with a dot, so nothing leads out of the folder. It must be allowed to
// list the folders on the way.
//
// What a client can make the server hold is bounded, and so is each wait for it. SIGTERM and SIGINT
// end idle connections, and let answers be finished.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>

#include "http_request.h"
#include "kedge/net/host.h"
#include "kedge/net/net.h"
#include "kedge/runtime/runtime.h"

namespace net = kedge::net;
using namespace std::chrono_literals;
using std::string_view;

constexpr const char* usage =
    "usage: http_server [OPTION...]\n"
    "Gives the files below a folder to HTTP/1.1 clients. Follows no symbolic links, and serves no\n"
    "names that begin with a dot. For a folder it gives index.html.\n"
    "  --root DIR             the folder; default: the current one\n"
    "  --port N               default: 8080; 0: a free one, which is printed\n"
    "  --host ADDRESS         default: 127.0.0.1; ::  means all addresses\n"
    "  --max-connections N    further clients wait; default: 500\n"
    "  --timeout SECONDS      of waits for a request, and for a client to read; default: 15\n"
    "SIGTERM and SIGINT end the server when the answers under way are sent, after 10 seconds at\n"
    "most. A second one ends it at once.\n";

// --- Files --------------------------------------------------------------------------------------

// Returns what stands behind the key in "key=value, key=value", or nothing.
string_view look_up(string_view table, string_view key) {
  while (!table.empty()) {
    string_view entry = http::take_until(table, ", ");
    if (http::take_until(entry, "=") == key) return entry;
  }
  return {};
}

string_view type_of(string_view name) {
  constexpr string_view types =
      "css=text/css; charset=utf-8, gif=image/gif, html=text/html; charset=utf-8, "
      "ico=image/x-icon, jpg=image/jpeg, js=text/javascript; charset=utf-8, json=application/json, "
      "mp4=video/mp4, pdf=application/pdf, png=image/png, svg=image/svg+xml, "
      "txt=text/plain; charset=utf-8, wasm=application/wasm, webp=image/webp, xml=application/xml";
  const string_view found = look_up(types, name.substr(name.rfind('.') + 1));
  return found.empty() ? "application/octet-stream" : found;
}

std::string reason_of(int status) {
  constexpr string_view reasons =
      "200=OK, 206=Partial Content, 301=Moved Permanently, 304=Not Modified, 400=Bad Request, "
      "403=Forbidden, 404=Not Found, 405=Method Not Allowed, 408=Request Timeout, "
      "411=Length Required, 412=Precondition Failed, 413=Content Too Large, 414=URI Too Long, "
      "416=Range Not Satisfiable, 417=Expectation Failed, 431=Request Header Fields Too Large, "
      "501=Not Implemented, 503=Service Unavailable, 505=HTTP Version Not Supported";
  const std::string code = std::to_string(status);
  return code + " " + std::string(look_up(reasons, code));
}

// A file, and the part of it that follows the head of an answer.
struct file_part {
  net::owned_fd file;
  struct stat status{};
  http::byte_range range;

  std::uint64_t file_size() const { return static_cast<std::uint64_t>(status.st_size); }
};

// Opens the file with these names below the folder. Returns 200, 301 for a folder, 403, 404 or 503.
// It opens one name below the other, none through a link: it does not matter what another process
// puts in the place of a name between the calls.
int open_below(int folder, const std::string& names, file_part& part) {
  string_view rest = names;
  int why = 0;
  do {
    const std::string name(http::take_until(rest, "/"));
    const int kind = rest.empty() ? O_NONBLOCK : O_DIRECTORY;  // a FIFO would block
    const int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | kind;
    net::owned_fd next(::openat(part.file ? part.file.get() : folder, name.c_str(), flags));
    why = errno;
    part.file = std::move(next);
  } while (part.file && !rest.empty());
  if (!part.file && why == EACCES) return 403;
  if (!part.file) return why == EMFILE || why == ENFILE || why == ENOMEM ? 503 : 404;
  if (::fstat(part.file.get(), &part.status) != 0) return 404;
  if (S_ISDIR(part.status.st_mode)) return 301;
  return S_ISREG(part.status.st_mode) ? 200 : 404;
}

// --- The server ---------------------------------------------------------------------------------

// What all connections share.
class server {
 public:
  server(kedge::loop& loop, const net::address& at, const std::string& root, std::chrono::seconds t)
      : timeout(t), root_(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (!root_) throw std::system_error(errno, std::system_category(), "root " + root);
    listener = net::tcp_listener(loop, at);
  }

  // Appends the answer to `out`, but for the part of a file that it gives. `wrong` is the status of
  // a request that cannot be served, or 0.
  file_part answer(int wrong, const http::request& r, bool is_last, std::string& out) {
    file_part part;
    std::string tag;
    const int status = wrong != 0 ? wrong : find(r, part, tag);
    const bool has_file = status == 200 || status == 206 || status == 304;
    const std::string reason = reason_of(status);
    const auto add = [&](const auto&... texts) { (out.append(texts), ...); };
    if (const std::time_t now = std::time(nullptr); std::exchange(now_, now) != now) {
      date_ = http::format_date(now);
    }
    add("HTTP/1.1 ", reason, "\r\nDate: ", date_, is_last ? "\r\nConnection: close\r\n" : "\r\n");
    if (status == 405) add("Allow: GET, HEAD\r\n");
    // Relative and with a dot: no name is taken for another host.
    if (status == 301) add("Location: ./", r.path.substr(r.path.rfind('/') + 1), "/\r\n");
    if (status == 206 || status == 416) {
      const std::uint64_t first = part.range.first;
      const std::string last = std::to_string(first + part.range.size - 1);
      const std::string range = status == 206 ? std::to_string(first) + "-" + last : "*";
      add("Content-Range: bytes ", range, "/", std::to_string(part.file_size()), "\r\n");
    }
    if (has_file) {
      add("Last-Modified: ", http::format_date(part.status.st_mtime), "\r\nETag: ", tag,
          "\r\nAccept-Ranges: bytes\r\n");
    }
    const std::uint64_t size = has_file ? part.range.size : reason.size() + 1;
    add("Content-Type: ", has_file ? type_of(names_) : "text/plain; charset=utf-8");
    if (status != 304) add("\r\nContent-Length: ", std::to_string(size));
    add("\r\n\r\n");
    if (!has_file && !r.is_head) add(reason, "\n");
    if (!has_file || status == 304 || r.is_head) part.range.size = 0;
    return part;
  }

  // Tells what is wrong with clients, each kind once a minute, so that many make few lines. Drops
  // the line if stderr is a pipe without room: the log stops no client.
  void complain(const net::address& peer, const std::string& what) {
    const auto now = std::chrono::steady_clock::now();
    const auto [last, is_first] = told_.try_emplace(what, now);
    if (!is_first && now - last->second < 1min) return;
    last->second = now;
    const std::string line = "http_server: " + (peer ? peer.text() + ": " : "") + what + "\n";
    pollfd log{STDERR_FILENO, POLLOUT, 0};
    if (::poll(&log, 1, 0) == 1) (void)!::write(STDERR_FILENO, line.data(), line.size());
  }
  void note_shed() {
    const std::size_t before = std::exchange(shed_, listener.shed());
    if (shed_ != before) complain({}, "lacks descriptors, and resets clients");
  }

  const std::chrono::seconds timeout;
  net::tcp_listener listener;  // closed: the connections are to end
  std::size_t answered = 0;

 private:
  // Sets `part` and the entity tag to those of what the request names. Returns the status.
  int find(const http::request& r, file_part& part, std::string& tag) {
    int status = http::decode_path(r.path, names_);
    if (status != 0) return status;
    if (r.path.ends_with('/')) names_ += names_.empty() ? "index.html" : "/index.html";
    status = open_below(root_.get(), names_, part);
    if (status == 503) complain({}, "lacks a descriptor or memory for a file");
    if (status != 200) return status;
    const std::time_t modified = part.status.st_mtime;
    tag = std::to_string(net::host::change_time(part.status));
    tag = '"' + tag + '-' + std::to_string(part.file_size()) + '"';
    status = http::evaluate_conditions(r, tag, modified);
    if (status != 200) return status;
    return http::choose_range(r, tag, modified, part.file_size(), part.range);
  }

  net::owned_fd root_;
  std::map<std::string, std::chrono::steady_clock::time_point> told_;
  std::size_t shed_ = 0;
  std::string names_;  // kept for its memory
  std::time_t now_ = 0;
  std::string date_;
};

// --- Connections --------------------------------------------------------------------------------

// One client. The coroutines that give a bool give false where the connection is over.
class connection {
 public:
  connection(server& all, net::tcp_stream s, const net::address& peer)
      : all_(all), peer_(peer), stream_(std::move(s)), in_(stream_, 2048) {}

  kedge::task<> serve() {
    bool goes_on = true;
    while (goes_on) {
      const bool must_wait = buffered().find(http::end_of_head) == string_view::npos;
      if ((must_wait || out_.size() > 16384) && !co_await flush()) co_return;
      if (buffered().empty() && !co_await await_request()) co_return;
      goes_on = co_await serve_request();
    }
    if (co_await flush()) co_await end();
  }

 private:
  string_view buffered() const {
    const std::span<const std::byte> bytes = in_.buffered();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  kedge::task<bool> await_request() {
    const auto begun = co_await kedge::with_timeout(
        all_.timeout, kedge::when_any(in_.peek(1), all_.listener.until_closed()));
    co_return begun&& std::get<0>(*begun) && std::get<0>(*begun)->has_value();
  }

  kedge::task<bool> serve_request() {
    http::request r;
    const auto head = co_await kedge::with_timeout(
        all_.timeout, in_.read_until(http::end_of_head, http::longest_head));
    int wrong = 0;
    if (head) {
      wrong = http::parse(*head, r);
    } else if (head.error() == kedge::errc::timed_out) {
      wrong = 408;
    } else if (head.error() == net::errc::limit_exceeded) {
      wrong = buffered().find(http::line_end) == string_view::npos ? 414 : 431;
    } else {
      co_return false;
    }
    if (r.body > 65536) wrong = 413;
    ++all_.answered;
    // Where the next request begins is not known after most errors, nor if the client has not been
    // told whether to send its body.
    const bool is_lost = (wrong != 0 && wrong != 405) || (r.expects_continue && r.body != 0);
    const bool is_last = is_lost || !r.keeps_open || !all_.listener;
    if (is_lost && wrong != 0)
      all_.complain(peer_, "sends what is answered with " + reason_of(wrong));
    const file_part part = all_.answer(wrong, r, is_last, out_);
    if (part.range.size != 0 && !co_await send(part)) co_return false;
    if (is_last || r.body == 0) co_return !is_last;
    const auto dropped = co_await kedge::with_timeout(all_.timeout, drop_body(r.body));
    co_return dropped && *dropped;
  }

  // Sends what is buffered, and the part of a file. A small part is buffered too, so that one call
  // sends it with its head.
  kedge::task<bool> send(const file_part& part) {
    const int file = part.file.get();
    if (part.range.size <= 8192) {
      const std::size_t size = part.range.size, before = out_.size();
      const auto at = static_cast<off_t>(part.range.first);
      out_.resize(before + size);
      const ssize_t n = ::pread(file, out_.data() + before, size, at);
      if (n == static_cast<ssize_t>(size)) co_return true;
      co_return give_up(kedge::errc::end_of_file);
    }
    if (!co_await flush()) co_return false;
    for (http::byte_range left = part.range; left.size != 0;) {
      const auto at = static_cast<off_t>(left.first);
      const auto n =
          co_await kedge::with_timeout(all_.timeout, stream_.send_file(file, at, left.size));
      if (!n) co_return give_up(n.error());
      if (*n == 0) co_return give_up(kedge::errc::end_of_file);
      left = {left.first + *n, left.size - *n};
    }
    co_return true;
  }

  kedge::task<bool> flush() {
    for (std::size_t done = 0; done < out_.size();) {
      const auto rest = std::as_bytes(std::span(out_)).subspan(done);
      const auto n = co_await kedge::with_timeout(all_.timeout, stream_.write_some(rest));
      if (!n) co_return give_up(n.error());
      done += *n;
    }
    out_.clear();
    co_return true;
  }

  // Resets the connection: a part of an answer is not taken for the whole, and the system drops
  // what a client that does not read has not received.
  bool give_up(const std::error_code& why) {
    if (why == kedge::errc::timed_out) all_.complain(peer_, "does not read its answer");
    if (why == kedge::errc::end_of_file) all_.complain(peer_, "a file has become shorter");
    stream_.reset();
    return false;
  }

  // Reads what a request brings along, which means nothing to GET and HEAD.
  kedge::task<bool> drop_body(std::uint64_t size) {
    std::array<std::byte, 1024> room;
    while (size != 0) {
      if (in_.buffered().empty() && !co_await flush()) co_return false;
      const auto most = std::span(room).first(std::min<std::size_t>(size, room.size()));
      const auto n = co_await in_.read_some(most);
      if (!n) co_return false;
      size -= *n;
    }
    co_return true;
  }

  // Reads on for a while: closing resets a connection with unread bytes, and the client may lose
  // the end of its answer.
  kedge::task<> end() {
    const auto drop = [this]() -> kedge::task<> {
      std::array<std::byte, 4096> room;
      for (int reads = 0; reads < 256 && co_await stream_.read_some(room); ++reads) continue;
    };
    if (stream_.shutdown_write()) (void)co_await kedge::with_timeout(2s, drop);
  }

  server& all_;
  const net::address& peer_;
  net::tcp_stream stream_;
  net::reader<net::tcp_stream&> in_;
  std::string out_;  // answers that are not sent
};

// --- The program --------------------------------------------------------------------------------

struct settings {
  std::map<string_view, std::string> words{{"--root", "."},
                                           {"--host", "127.0.0.1"},
                                           {"--port", "8080"},
                                           {"--max-connections", "500"},
                                           {"--timeout", "15"}};

  std::uint64_t number(string_view option, std::uint64_t least, std::uint64_t most) const {
    const auto given = http::parse_number(words.at(option));
    if (given && *given >= least && *given <= most) return *given;
    throw std::invalid_argument(std::string(option) + " takes " + std::to_string(least) + " to " +
                                std::to_string(most) + ", not " + words.at(option));
  }
};

kedge::task<int> run(kedge::loop& loop, const settings& s) {
  const auto port = static_cast<std::uint16_t>(s.number("--port", 0, 65535));
  const net::serve_options limits{.most_connections = s.number("--max-connections", 1, 1'000'000)};
  const net::address at = net::address::parse_host(s.words.at("--host"), port).value();
  const std::chrono::seconds timeout(s.number("--timeout", 1, 86400));
  server all(loop, at, s.words.at("--root"), timeout);
  kedge::signal_set stop(loop, {SIGTERM, SIGINT});
  std::printf("serves %s on %s\n", s.words.at("--root").c_str(),
              all.listener.local_address().text().c_str());
  std::fflush(stdout);

  const auto handle = [&](net::tcp_stream client, const net::address& peer) -> kedge::task<> {
    all.note_shed();
    connection c(all, std::move(client), peer);
    co_await c.serve();
    all.note_shed();
  };
  int status = 0;
  const auto body = [&](kedge::scope& scope) -> kedge::task<> {
    const auto watch_signals = [&]() -> kedge::task<> {
      (void)co_await stop.next();
      all.listener.close();
      status = 128 + (co_await stop.next()).value().number;
      scope.cancel();
    };
    scope.spawn(kedge::background(watch_signals));
    const net::serve_report report = co_await net::serve(all.listener, handle, limits);
    std::printf("answered %zu requests, cut off %zu connections\n", all.answered, report.stuck);
    if (report.error) throw std::system_error(report.error, "accept");
  };
  co_await kedge::with_scope(body);
  co_return status;
}

int main(int argc, char** argv) try {
  settings s;
  for (int i = 1; i < argc; i += 2) {
    const string_view option = argv[i];
    if (option == "--help") return std::fputs(usage, stdout), 0;
    const bool is_known = s.words.contains(option);
    const std::string wrong = is_known ? " lacks its value" : " is no option";
    if (!is_known || i + 1 == argc) throw std::invalid_argument(argv[i] + wrong + ": see --help");
    s.words[option] = argv[i + 1];
  }
  ::signal(SIGPIPE, SIG_IGN);  // the reader of the log may go
  kedge::loop loop;
  return loop.run(run(loop, s));
} catch (const std::exception& e) {
  std::fprintf(stderr, "http_server: %s\n", e.what());
  return dynamic_cast<const std::invalid_argument*>(&e) != nullptr ? 2 : 1;
}
