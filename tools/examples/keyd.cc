// keyd: keeps keys with values, for clients on sockets and at a Mach port, in a journal on disk.
//
//     keyd --unix unix:/tmp/keyd.sock /var/tmp/keyd.journal &  nc -U /tmp/keyd.sock
//
// The text protocol has a line for each request, and a line for its answer, in their order:
//
//     get KEY                "= VALUE", or "none"
//     put KEY VALUE          "ok", when the journal has it. A value may have blanks
//     putfor SECONDS KEY VALUE    the same, for so long
//     del KEY                "ok", or "none"
//     stats                  "stats keys=2 bytes=20 journal=90 requests=5 watches=0"
//
// What is not one of these, and what cannot be done, is "error WHY". A longer line than 64 KiB ends
// the connection, as do --idle seconds without a whole line. SIGHUP compacts the journal. SIGTERM
// ends each connection when the lines that have arrived are answered, and the Mach service when its
// requests are. When the journal cannot be written, a line on stderr says so, and another one says
// when changes are made again. keyd does not authenticate clients of the text protocol: the mode of
// the socket does. The Mach service, org.kedge.keyd, is in keyd_service.h. keyd.socket and
// keyd.service are the daemon's units for systemd, org.kedge.keyd.plist is its property list for
// launchd.
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "kedge/mach/serve.h"
#include "kedge/mach/service_names.h"
#include "kedge/net/daemon.h"
#include "kedge/net/reader.h"
#include "kedge/net/serve.h"
#include "kedge/net/writer.h"
#include "kedge/runtime/forever.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/sleep.h"
#include "kedge/runtime/when_all.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/with_timeout.h"
#include "tools/examples/keyd_service.h"
#include "tools/examples/keyd_store.h"

namespace mach = kedge::mach;
namespace net = kedge::net;
using namespace std::chrono_literals;

constexpr const char* usage =
    "usage: keyd [OPTION]... JOURNAL\n"
    "Keeps keys with values for clients on sockets, in the file JOURNAL.\n"
    "  --unix unix:PATH     listen here, unless a socket \"keyd\" is handed over\n"
    "  --tcp HOST:PORT      listen here, unless a socket \"keyd-tcp\" is handed over\n"
    "  --activated-tcp      take the socket \"keyd-tcp\" that is handed over\n"
    "  --idle SECONDS       end a text connection without a request for so long (600)\n"
    "  --no-sync            acknowledge what the kernel has, before the disk has it\n"
    "  --help               print this\n";

struct settings {
  const char* journal = nullptr;
  net::address unix_at;
  net::address tcp_at;
  bool has_tcp = false;
  std::chrono::seconds idle{600};
  keyd::store_options store;
};

// What a connection may do.
constexpr std::size_t longest_line = 65536;
constexpr auto longest_write = 30s;

// Gives nothing for what is not a number of seconds from 1 on.
std::optional<std::chrono::seconds> read_seconds(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (bad != std::errc() || end != text.data() + text.size() || number == 0 ||
      number > keyd::service::most_seconds) {
    return std::nullopt;
  }
  return std::chrono::seconds(number);
}

class daemon_state {
 public:
  daemon_state(kedge::loop& l, net::daemon& d, const settings& s)
      : loop_(l), daemon_(d), idle_(s.idle), store_(s.journal, s.store), service_(l, store_) {
    store_.on_write = [this](std::error_code why) { note_write(why); };
    if (store_.cut_off() > 0) {
      std::fprintf(stderr, "keyd: %s: cut off %zu bytes of a record that is not whole\n", s.journal,
                   store_.cut_off());
    }
  }

  kedge::task<> compact() {
    (co_await store_.compact()).value();
    co_await daemon_.status(stats());
  }

  // Answers the requests of a connection until it ends, or the daemon stops.
  template <class Stream>
  kedge::task<> talk(Stream s) {
    net::reader in(s);
    net::writer out(s);
    for (;;) {
      std::optional<kedge::result<std::string_view>> line;
      if (has_line(in.buffered())) {
        line = co_await in.read_until("\n", longest_line);
      } else {
        const auto flushed = co_await kedge::with_timeout(longest_write, out.flush());
        flushed.value();
        // A line and SIGTERM may come together. The read after SIGTERM takes what has arrived.
        const bool is_last = daemon_.is_stopping();
        auto next = co_await kedge::when_any(in.read_until("\n", longest_line),
                                             daemon_.until_stopping(), kedge::sleep_for(idle_));
        line = std::get<0>(next);
        if (!line && !is_last && std::get<1>(next)) continue;
        if (!line) co_return;
      }
      if (!*line) {
        const std::error_code why = line->error();
        if (why == kedge::errc::end_of_file || why == net::errc::cut_short) co_return;
        throw std::system_error(why);
      }
      std::string_view text = **line;
      text.remove_suffix(text.ends_with("\r\n") ? 2 : 1);
      const std::string answer = co_await answer_to(text);
      const auto written = co_await kedge::with_timeout(longest_write, out.write(answer));
      written.value();
    }
  }

  // Removes what has expired, and compacts the journal. Does not end by itself.
  kedge::task<> maintain() {
    for (;;) {
      co_await kedge::sleep_for(1s);
      co_await store_.expire(loop_.wall_now());
      // on_write has the error.
      if (store_.needs_compaction()) (void)co_await store_.compact();
    }
  }

  // Ends when the daemon stops and the requests that have come are answered. Throws the error that
  // ends the service.
  kedge::task<> serve_mach(const mach::receive_right& port) {
    mach::serve_control control;
    const mach::serve_options options{
        .deadline = 10s, .peers = mach::same_user(), .control = &control};
    const auto stop = [&]() -> kedge::task<> {
      (void)co_await daemon_.until_stopping();
      control.stop();
      co_await daemon_.status("answers " + std::to_string(control.counters().running) +
                              " Mach requests");
      co_await kedge::forever();  // serve() ends the others
    };
    const auto ended = co_await kedge::when_any(service_.serve(port, options), stop(), maintain(),
                                                service_.release_the_dead());
    const mach::serve_report& report = std::get<0>(ended).value();
    if (report.stuck > 0) {
      std::fprintf(stderr, "keyd: cut off %zu Mach requests\n", report.stuck);
    }
    if (report.error) throw std::system_error(report.error, "org.kedge.keyd");
  }

 private:
  static bool has_line(std::span<const std::byte> bytes) noexcept {
    return !bytes.empty() && std::memchr(bytes.data(), '\n', bytes.size()) != nullptr;
  }
  static std::string_view take_word(std::string_view& from) {
    const std::size_t end = from.find(' ');
    const std::string_view word = from.substr(0, end);
    from.remove_prefix(end == from.npos ? from.size() : end + 1);
    return word;
  }

  kedge::task<std::string> answer_to(std::string_view line) {
    ++requests_;
    const std::string_view verb = take_word(line);
    if (verb == "stats") co_return "stats " + stats() + "\n";
    keyd::change c;
    if (verb == "putfor") {
      const std::string_view number = take_word(line);
      const auto seconds = read_seconds(number);
      if (!seconds) co_return "error the seconds are not a number\n";
      c.expiry = loop_.wall_now() + *seconds;
    }
    c.key = take_word(line);
    if (c.key.empty()) co_return "error the key is missing\n";
    if (verb == "get") {
      const std::string* value = store_.find(c.key, loop_.wall_now());
      if (value == nullptr) co_return "none\n";
      co_return "= " + *value + "\n";
    }
    c.is_removal = verb == "del";
    if (verb != "put" && verb != "putfor" && !c.is_removal) {
      co_return "error no such request: get, put, putfor, del, stats\n";
    }
    c.value = line;
    const auto made = co_await store_.make(std::move(c), loop_.wall_now());
    if (!made) co_return "error " + made.error().message() + "\n";
    co_return verb == "del" && !*made ? "none\n" : "ok\n";
  }

  std::string stats() const {
    return "keys=" + std::to_string(store_.size()) + " bytes=" + std::to_string(store_.bytes()) +
           " journal=" + std::to_string(store_.journal_size()) +
           " requests=" + std::to_string(requests_) +
           " watches=" + std::to_string(service_.watches());
  }

  void note_write(std::error_code why) noexcept {
    try {
      const std::string line = failures_.note(why, loop_.wall_now());
      if (!line.empty()) std::fprintf(stderr, "keyd: %s\n", line.c_str());
    } catch (const std::bad_alloc&) {
      // The client still gets its error.
    }
  }

  kedge::loop& loop_;
  net::daemon& daemon_;
  const std::chrono::seconds idle_;
  keyd::failure_log failures_;
  keyd::store store_;
  keyd::service service_;
  std::uint64_t requests_ = 0;
};

kedge::task<> keep(kedge::loop& l, net::daemon& d, const settings& s) {
  daemon_state state(l, d, s);
  const mach::receive_right port = mach::check_in("org.kedge.keyd").value();
  const auto reload = [&] { return state.compact(); };
  const auto on_unix = [&](net::unix_stream c) { return state.talk(std::move(c)); };
  const auto on_tcp = [&](net::tcp_stream c) { return state.talk(std::move(c)); };
  net::unix_listener local = d.listen_unix("keyd", s.unix_at);
  if (!s.has_tcp) {
    co_await d.run(kedge::when_all(net::serve(local, on_unix), state.serve_mach(port)), reload);
    co_return;
  }
  net::tcp_listener remote = d.listen_tcp("keyd-tcp", s.tcp_at);
  co_await d.run(kedge::when_all(net::serve(local, on_unix), net::serve(remote, on_tcp),
                                 state.serve_mach(port)),
                 reload);
}

// Returns false, having said why, if the arguments are wrong.
bool read_arguments(int argc, char** argv, settings& s) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view a = argv[i];
    if (a == "--no-sync") {
      s.store.sync = false;
    } else if (a == "--activated-tcp") {
      s.has_tcp = true;
    } else if (a == "--idle" && i + 1 < argc) {
      const auto seconds = read_seconds(argv[++i]);
      if (!seconds) {
        std::fprintf(stderr, "keyd: --idle %s: not a number of seconds\n", argv[i]);
        return false;
      }
      s.idle = *seconds;
    } else if ((a == "--unix" || a == "--tcp") && i + 1 < argc) {
      const auto at = net::address::parse(argv[++i]);
      if (!at) {
        std::fprintf(stderr, "keyd: %s: %s\n", argv[i], at.error().message().c_str());
        return false;
      }
      (a == "--tcp" ? s.tcp_at : s.unix_at) = *at;
      if (a == "--tcp") s.has_tcp = true;
    } else if (!a.starts_with('-') && s.journal == nullptr) {
      s.journal = argv[i];
    } else {
      std::fputs(usage, stderr);
      return false;
    }
  }
  if (s.journal == nullptr) std::fputs(usage, stderr);
  return s.journal != nullptr;
}

int main(int argc, char** argv) {
  if (argc == 2 && argv[1] == std::string_view("--help")) return std::fputs(usage, stdout), 0;
  settings s;
  if (!read_arguments(argc, argv, s)) return 2;
  std::signal(SIGXFSZ, SIG_IGN);  // a limit of the size of files is an error of the journal
  kedge::loop loop;
  return net::run_daemon(loop, "keyd", [&](net::daemon& d) { return keep(loop, d, s); });
}
