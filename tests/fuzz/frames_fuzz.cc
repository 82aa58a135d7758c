// A fuzz target: what a peer sends, and in which pieces, to a reader of lines, delimited parts and
// frames. The pieces and interruptions must not change what the reader gives, each byte must be
// given, buffered or left in the stream, and the buffer must respect the limits.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "byte_source.h"
#include "kedge/net/errc.h"
#include "kedge/net/memory_stream.h"
#include "kedge/net/read_exactly.h"
#include "kedge/net/reader.h"
#include "kedge/runtime/errc.h"
#include "kedge/runtime/loop.h"
#include "kedge/runtime/task.h"
#include "kedge/runtime/when_any.h"
#include "kedge/runtime/yield.h"
#include "tests/runtime/drain.h"

namespace kedge::net {
namespace {

using fuzz::byte_source;
using fuzz::require;
using memory_reader = reader<memory_stream&>;

enum class kind { line, until, frame8, frame16, frame32, frame64, peek, exactly };
constexpr std::uint32_t kinds = 8;

// One call of the reader, and what it has given so far.
struct call {
  kind what;
  std::size_t limit;
  std::string_view delimiter;

  bool has_ended = false;
  std::error_code error{};
  std::string given{};
  std::vector<std::byte> room{};  // of read_exactly()
  std::size_t done = 0;

  // How large the reader's buffer may become.
  std::size_t most_memory() const noexcept {
    switch (what) {
      case kind::line:
        return limit + 2;
      case kind::frame8:
      case kind::frame16:
      case kind::frame32:
      case kind::frame64:
        return limit + 8;
      case kind::exactly:
        return 0;
      default:
        return limit;
    }
  }
  bool same_end_as(const call& other) const { return error == other.error && given == other.given; }
};

call draw_call(byte_source& input) {
  constexpr std::string_view delimiters[] = {";", "\n", "ab", "aab"};
  call c{static_cast<kind>(input.below(kinds)), input.byte(), delimiters[input.below(4)]};
  // An announced length is no reason to take memory, so limits may be large.
  const bool is_frame = c.what >= kind::frame8 && c.what <= kind::frame64;
  if (is_frame && input.one_in(4)) c.limit = input.word();
  if (c.what == kind::exactly) c.room.resize(c.limit);
  return c;
}

void keep(call& c, std::span<const std::byte> bytes) {
  c.given.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}
void keep(call& c, std::string_view text) {
  c.given = text;
}
void end(call& c, const auto& got) {
  c.has_ended = true;
  if (got) keep(c, *got);
  if (!got) c.error = got.error();
}

// May be interrupted, and repeated with the same call.
task<> perform(memory_reader& in, call& c) {
  switch (c.what) {
    case kind::line:
      end(c, co_await in.line(c.limit));
      break;
    case kind::until:
      end(c, co_await in.read_until(c.delimiter, c.limit));
      break;
    case kind::frame8:
      end(c, co_await in.frame<std::uint8_t>(c.limit));
      break;
    case kind::frame16:
      end(c, co_await in.frame<std::uint16_t>(c.limit));
      break;
    case kind::frame32:
      end(c, co_await in.frame<std::uint32_t>(c.limit));
      break;
    case kind::frame64:
      end(c, co_await in.frame<std::uint64_t>(c.limit));
      break;
    case kind::peek:
      end(c, co_await in.peek(c.limit));
      if (!c.error) in.consume(c.limit);
      break;
    case kind::exactly: {
      const auto got = co_await read_exactly(in, c.room, c.done);
      c.has_ended = true;
      if (!got) c.error = got.error();
      keep(c, std::span(c.room).first(c.done));
      break;
    }
  }
}

// Returns where the bytes end that the call has taken from `content` at `at`, or npos.
std::size_t end_of(const call& c, std::string_view content, std::size_t at) {
  const bool is_partial = c.error && c.what == kind::exactly;
  if (c.error && !is_partial) return at;
  std::string_view rest = content.substr(at);
  if (c.what >= kind::frame8 && c.what <= kind::frame64) {
    const std::size_t width = std::size_t{1} << (static_cast<int>(c.what) - 2);
    if (rest.size() < width) return rest.npos;
    rest.remove_prefix(width);
  }
  if (!rest.starts_with(c.given)) return rest.npos;
  rest.remove_prefix(c.given.size());
  if (c.what == kind::line) {
    if (rest == "\r" || rest.starts_with("\r\n")) rest.remove_prefix(1);
    if (rest.starts_with('\n')) rest.remove_prefix(1);
  }
  return content.size() - rest.size();
}

// One run: a peer that sends the content, and a task that makes the calls.
class run {
 public:
  run(std::string_view content, std::size_t first_size, const memory_options& o)
      : content_(content), first_size_(first_size), pipe_(loop_, o) {}

  // `cuts` says where the peer cuts the content, and which calls are interrupted.
  std::vector<call> play(byte_source calls, byte_source cuts) {
    byte_source pieces(cuts.take(cuts.byte()));
    loop_.spawn([&]() -> task<> { co_await send(pieces); });
    loop_.spawn([&]() -> task<> { co_await make_calls(calls, cuts); });
    settle(loop_);
    require(has_ended_, "a reader waits although its peer has sent all");
    loop_.spawn([&]() -> task<> { co_await count_rest(); });
    settle(loop_);
    require(at_ + in_.buffered().size() + rest_ == content_.size(),
            "bytes are lost or given twice");
    return std::move(made_);
  }

 private:
  task<> send(byte_source& pieces) {
    std::span<const std::byte> rest = std::as_bytes(std::span(content_));
    while (!rest.empty()) {
      const std::size_t size = pieces.empty() ? rest.size() : 1u + pieces.byte() % 32u;
      const auto n = co_await pipe_.a.write_some(rest.first(std::min(size, rest.size())));
      rest = rest.subspan(n.value());
      if (pieces.one_in(2)) co_await yield();
    }
    static_cast<void>(pipe_.a.shutdown_write());
  }

  task<> make_calls(byte_source& calls, byte_source& cuts) {
    for (std::error_code last; !calls.empty() && (!last || last == errc::limit_exceeded);) {
      // A limit that was exceeded is exceeded again until a byte has been taken.
      call c = last ? call{kind::peek, 1, {}} : draw_call(calls);
      while (!c.has_ended && cuts.one_in(3)) {
        static_cast<void>(co_await when_any(perform(in_, c), yield()));
      }
      if (!c.has_ended) co_await perform(in_, c);
      most_memory_ = std::max(most_memory_, c.most_memory());
      require(in_.capacity() <= most_memory_, "a reader takes more memory than its limit");
      at_ = end_of(c, content_, at_);
      require(at_ != content_.npos, "a reader gives other bytes than those that were sent");
      last = c.error;
      made_.push_back(std::move(c));
    }
    has_ended_ = true;
  }

  task<> count_rest() {
    std::vector<std::byte> room(64);
    while (const auto n = co_await pipe_.b.read_some(room)) rest_ += *n;
  }

  const std::string_view content_;
  const std::size_t first_size_;
  loop loop_;
  memory_pipe pipe_;
  memory_reader in_{pipe_.b, first_size_};
  std::size_t most_memory_ = first_size_;
  std::vector<call> made_;
  std::size_t at_ = 0;  // the bytes before it have been given
  std::size_t rest_ = 0;
  bool has_ended_ = false;
};

// Bytes that are often delimiters and small lengths.
std::string draw_content(byte_source& input) {
  constexpr std::string_view usual("\n\r;ab\0\1\2\3", 9);
  std::string content;
  while (!input.empty() && content.size() < 2000) {
    const std::uint8_t drawn = input.byte();
    content += drawn < 200 ? usual[drawn % usual.size()] : static_cast<char>(input.byte());
  }
  return content;
}

void play(byte_source input) {
  const std::size_t first_size = 1u + input.below(64);
  memory_options cut{.capacity = 1u + input.byte(), .fragment = input.byte() % 8u};
  cut.seed = input.word();
  const byte_source calls(input.take(input.byte()));
  const byte_source cuts(input.take(input.byte()));
  const std::string content = draw_content(input);

  run whole(content, first_size, {.capacity = content.size() + 1});
  const std::vector<call> expected = whole.play(calls, byte_source({}));
  run in_pieces(content, first_size, cut);
  const std::vector<call> got = in_pieces.play(calls, cuts);
  const bool is_same = std::equal(got.begin(), got.end(), expected.begin(), expected.end(),
                                  [](const call& a, const call& b) { return a.same_end_as(b); });
  require(is_same, "a reader gives something else where its peer sends other pieces");
}

}  // namespace
}  // namespace kedge::net

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  kedge::net::play(fuzz::byte_source({data, size}));
  return 0;
}
