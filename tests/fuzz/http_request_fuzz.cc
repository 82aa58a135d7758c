// A fuzz target: any head as that of an HTTP request. What the strict parser accepts, a lenient
// reading understands in the same way, and no path, range or date leaves its bounds.
#include "tools/examples/http_request.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "byte_source.h"

namespace {

using fuzz::byte_source;
using fuzz::require;
using std::string_view;

// Text from parts of heads and from bytes, as the input says. Some of it begins and ends like one.
std::string draw_head(byte_source& input) {
  constexpr std::array<string_view, 52> parts{"GET ",
                                              "HEAD ",
                                              "POST ",
                                              "/",
                                              "a",
                                              "%2e",
                                              "%2F",
                                              "%00",
                                              "%4",
                                              "..",
                                              ".",
                                              "?",
                                              "#",
                                              "http://",
                                              "*",
                                              " HTTP/1.1",
                                              " HTTP/1.0",
                                              " HTTP/2.0",
                                              "\r\n",
                                              "\r",
                                              "\n",
                                              "\r\n\r\n",
                                              " ",
                                              "\t",
                                              ":",
                                              "Host: a\r\n",
                                              "host:",
                                              "Content-Length: ",
                                              "content-length:",
                                              "Transfer-Encoding: ",
                                              "chunked",
                                              "Connection: ",
                                              "close",
                                              "Expect: 100-continue\r\n",
                                              "Range: bytes=",
                                              "-",
                                              ",",
                                              "0",
                                              "1",
                                              "99",
                                              "18446744073709551615",
                                              "If-Match: ",
                                              "If-None-Match: ",
                                              "\"a\"",
                                              "W/",
                                              "\"",
                                              "If-Range: ",
                                              "If-Modified-Since: ",
                                              "If-Unmodified-Since: ",
                                              "Sun, 06 Nov 1994 08:49:37 GMT",
                                              "Sun Nov  6 08:49:37 1994",
                                              "Range: "};
  constexpr std::array<string_view, 4> beginnings{"", "GET / HTTP/1.1\r\nHost: a\r\n", "GET /",
                                                  "\r\n"};
  constexpr std::array<string_view, 4> ends{"", "\r\n\r\n", "\r\n\r\n",
                                            " HTTP/1.1\r\nHost: a\r\n\r\n"};
  std::string text(beginnings[input.below(beginnings.size())]);
  const string_view end = ends[input.below(ends.size())];
  while (!input.empty() && text.size() < http::longest_head) {
    const std::uint32_t kind = input.below(parts.size() + 4);
    if (kind < parts.size()) text += parts[kind];
    if (kind >= parts.size()) text += static_cast<char>(input.byte());
  }
  return text.append(end);
}

// Reads as a careless program on the way might: any line end, blanks anywhere, the last field of a
// name. Returns how often the field comes.
int read_leniently(string_view head, string_view name, std::string& value) {
  int count = 0;
  while (!head.empty()) {
    const std::size_t end = std::min(head.find_first_of("\r\n"), head.size());
    string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + 1, head.size()));
    if (line.find(':') == line.npos) continue;
    const string_view found = http::trim(http::take_until(line, ":"));
    if (!http::equal_ignoring_case(found, name)) continue;
    ++count;
    value = http::trim(line);
  }
  return count;
}

void check_path(string_view path, byte_source& input) {
  require(path.starts_with('/'), "a path does not begin with a slash");
  std::string names;
  if (const int status = http::decode_path(path, names); status != 0) {
    require(status == 400 || status == 404, "a path has another status");
    return;
  }
  require(names.find('\0') == names.npos, "a NUL would end the path early");
  const std::string bounded = "/" + names + "/";
  require(names.empty() || bounded.find("//") == bounded.npos, "a name is empty");
  require(bounded.find("/.") == bounded.npos, "a name begins with a dot");
  // The names decode to themselves if some of their characters are escaped.
  std::string escaped = "/";
  for (const char c : names) {
    std::array<char, 4> digits{};
    std::snprintf(digits.data(), digits.size(), "%%%02x", static_cast<unsigned char>(c));
    escaped += c == '/' || !input.one_in(2) ? std::string(1, c) : std::string(digits.data());
  }
  std::string again;
  if (names.find('%') != names.npos) return;
  require(http::decode_path(escaped, again) == 0 && again == names, "a path decodes to two");
}

void check_file(const http::request& r, byte_source& input) {
  constexpr string_view tag = "\"a\"";
  const std::time_t modified = 784111777;
  const int status = http::evaluate_conditions(r, tag, modified);
  require(status == 200 || status == 304 || status == 412, "a condition has another status");
  constexpr std::array<std::uint64_t, 4> sizes{0, 1, 100, std::uint64_t{1} << 62};
  const std::uint64_t size = sizes[input.below(sizes.size())];
  http::byte_range part;
  const int chosen = http::choose_range(r, tag, modified, size, part);
  require(chosen == 200 || (!r.is_head && !r.range.empty()),
          "a part is given to who asks for none");
  require(chosen == 200 || chosen == 206 || chosen == 416, "a range has another status");
  require(chosen != 200 || (part.first == 0 && part.size == size), "a whole file is not whole");
  require(chosen != 206 || (part.size > 0 && part.first < size && part.size <= size - part.first),
          "a part leaves the file");
}

void check_head(string_view head, byte_source& input) {
  http::request r;
  const int status = http::parse(head, r);
  if (status != 0 && status != 405) {
    require(status >= 400 && status < 506, "a head has another status");
    return;
  }
  require(head.ends_with("\r\n\r\n"), "a head without its end is accepted");
  std::string value;
  require(read_leniently(head, "transfer-encoding", value) == 0,
          "a transfer coding is passed over");
  const int lengths = read_leniently(head, "content-length", value);
  require(lengths <= 1, "two lengths are accepted");
  require(lengths == 0 ? r.body == 0 : r.body == std::strtoull(value.c_str(), nullptr, 10),
          "a body has two lengths");
  const int hosts = read_leniently(head, "host", value);
  require(hosts == 1 ? r.host == value : hosts == 0 && r.is_old, "a request has not one host");
  if (status == 0) check_path(r.path, input);
  check_file(r, input);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  byte_source input({data, size});
  const auto time = static_cast<std::time_t>(input.word()) * 50;  // up to the year 8775
  const std::string date = http::format_date(time);
  require(date.size() == 29 && http::parse_date(date) == time, "a date is read as another one");
  byte_source choices({data, size});
  const std::string drawn = draw_head(input);
  // In memory of its own size, so that a sanitizer sees a step beyond it.
  const auto exact = std::make_unique<char[]>(drawn.size());
  std::memcpy(exact.get(), drawn.data(), drawn.size());
  check_head({exact.get(), drawn.size()}, choices);
  return 0;
}
