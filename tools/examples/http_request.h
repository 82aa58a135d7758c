// http_request: what the head of an HTTP/1.1 request says, for http_server.cc.
//
//     http::request r;
//     if (const int status = http::parse(head, r); status != 0) ...   // 400, 414, 431, 501 ...
//
// `head` is what comes up to the empty line, with it. `r` has views of it. The parser is strict: a
// client smuggles a request through what two programs on its way read differently (RFC 9112, 11.2).
// So a line ends with CR LF, a field that matters comes once, and a length is a number.
//
// Nothing waits. Threads: any.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace http {

using std::string_view;

constexpr std::size_t longest_head = 8192, longest_target = 4096, most_fields = 100;
constexpr string_view line_end = "\r\n", end_of_head = "\r\n\r\n";

struct request {
  string_view path;        // as it came: begins with '/', without a query
  bool is_head = false;    // HEAD, else GET if parse() finds nothing wrong
  bool is_old = false;     // HTTP/1.0
  bool keeps_open = true;  // another request may follow
  bool expects_continue = false;
  std::uint64_t body = 0;  // how many bytes follow the head
  // Fields, empty if they are absent.
  string_view host, content_length, range;
  string_view if_match, if_none_match, if_modified_since, if_unmodified_since, if_range;
};

// --- Characters and numbers ---------------------------------------------------------------------

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}
constexpr bool is_alnum(char c) {
  return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}
constexpr bool is_visible(char c) {
  return c > ' ' && c < '\x7f';
}

// In methods and names of fields.
constexpr bool is_token(char c) {
  return is_alnum(c) || string_view("!#$%&'*+-.^_`|~").find(c) != string_view::npos;
}
constexpr bool is_of_host(char c) {
  return is_alnum(c) || string_view("-._~!$&'()*+,;=%:[]").find(c) != string_view::npos;
}
// In values: no control but the tab.
constexpr bool is_of_value(char c) {
  return static_cast<unsigned char>(c) >= ' ' ? c != '\x7f' : c == '\t';
}
inline bool all(string_view text, bool (*holds)(char)) {
  return std::all_of(text.begin(), text.end(), holds);
}
inline bool equal_ignoring_case(string_view a, string_view b) {
  const auto equal = [](char x, char y) { return lower(x) == lower(y); };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), equal);
}
inline string_view trim(string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  return text.substr(0, text.find_last_not_of(" \t") + 1);
}
// Takes what stands before the first `mark`, and the mark. Takes all without one.
inline string_view take_until(string_view& text, string_view mark) {
  const std::size_t at = std::min(text.find(mark), text.size());
  const string_view taken = text.substr(0, at);
  text.remove_prefix(std::min(at + mark.size(), text.size()));
  return taken;
}
// Digits alone. A number that is too large becomes the largest one.
inline std::optional<std::uint64_t> parse_number(string_view text) {
  std::uint64_t number = 0;
  const char* const last = text.data() + text.size();
  const auto [end, wrong] = std::from_chars(text.data(), last, number);
  if (end != last || wrong == std::errc::invalid_argument) return std::nullopt;
  return wrong == std::errc() ? number : std::numeric_limits<std::uint64_t>::max();
}

// --- The head: functions that return 0, or the status of the answer -----------------------------

inline int parse_request_line(string_view line, request& r) {
  const string_view method = take_until(line, " ");
  string_view target = take_until(line, " ");
  if (method.empty() || !all(method, is_token) || target.empty()) return 400;
  if (target.size() > longest_target) return 414;
  if (line.size() != 8 || !line.starts_with("HTTP/") || line[6] != '.') return 400;
  if (!is_digit(line[5]) || !is_digit(line[7])) return 400;
  if (line[5] != '1') return 505;
  r.is_old = line[7] == '0';
  r.keeps_open = !r.is_old;
  r.is_head = method == "HEAD";
  if (method != "GET" && !r.is_head) return 405;  // the targets of some have other forms
  if (!all(target, is_visible) || target.find('#') != target.npos) return 400;
  if (!target.starts_with('/')) {  // "http://host/path"
    if (!equal_ignoring_case(take_until(target, "://"), "http")) return 400;
    const std::size_t end_of_host = std::min(target.find_first_of("/?"), target.size());
    if (end_of_host == 0) return 400;
    target.remove_prefix(end_of_host);
  }
  r.path = take_until(target, "?");
  if (r.path.empty()) r.path = "/";
  return 0;
}

inline int note_field(string_view name, string_view value, request& r) {
  static constexpr std::pair<string_view, string_view request::*> singles[] = {
      {"host", &request::host},
      {"content-length", &request::content_length},
      {"range", &request::range},
      {"if-match", &request::if_match},
      {"if-none-match", &request::if_none_match},
      {"if-modified-since", &request::if_modified_since},
      {"if-unmodified-since", &request::if_unmodified_since},
      {"if-range", &request::if_range}};
  for (const auto& [single, member] : singles) {
    if (!equal_ignoring_case(name, single)) continue;
    if (value.empty() || !(r.*member).empty()) return 400;
    r.*member = value;
    return 0;
  }
  if (equal_ignoring_case(name, "connection")) {
    while (!value.empty()) {
      if (equal_ignoring_case(trim(take_until(value, ",")), "close")) r.keeps_open = false;
    }
  } else if (equal_ignoring_case(name, "expect")) {
    if (!equal_ignoring_case(value, "100-continue")) return 417;
    r.expects_continue = !r.is_old;
  } else if (equal_ignoring_case(name, "transfer-encoding")) {
    return equal_ignoring_case(value, "chunked") ? 411 : 501;  // no body is wanted here
  }
  return 0;
}

// After an error but 405 the connection must be closed: where the next request begins is unknown.
inline int parse(string_view head, request& r) {
  if (head.starts_with(line_end)) head.remove_prefix(2);  // RFC 9112, 2.2
  const int status = parse_request_line(take_until(head, line_end), r);
  if (status != 0 && status != 405) return status;
  for (std::size_t count = 1; !head.empty() && head != line_end; ++count) {
    if (count > most_fields) return 431;
    string_view line = take_until(head, line_end);
    if (line.find(':') == line.npos) return 400;
    const string_view name = take_until(line, ":");
    if (name.empty() || !all(name, is_token) || !all(line, is_of_value)) return 400;
    if (const int wrong = note_field(name, trim(line), r); wrong != 0) return wrong;
  }
  if (head != line_end || !all(r.host, is_of_host) || (r.host.empty() && !r.is_old)) return 400;
  if (r.content_length.empty()) return status;
  const std::optional<std::uint64_t> length = parse_number(r.content_length);
  if (!length) return 400;
  r.body = *length;
  return status;
}

// --- The path -----------------------------------------------------------------------------------

// More than 15 if it is no digit.
constexpr std::size_t hex(char c) {
  return string_view("0123456789abcdef").find(lower(c));
}

// Sets `names` to the names of the path, with '/' between them and nowhere else: "a/b" for "/a//b",
// "" for "/". Returns 0; 400 for a wrong escape and for NUL; 404 for a name that contains a slash,
// or begins with a dot: "..", ".git" and the like name nothing.
inline int decode_path(string_view path, std::string& names) {
  names.clear();
  while (!path.empty()) {
    const string_view raw = take_until(path, "/");
    if (raw.empty()) continue;
    if (!names.empty()) names += '/';
    const std::size_t begin = names.size();
    for (std::size_t i = 0; i < raw.size(); ++i) {
      char c = raw[i];
      if (c == '%') {
        const string_view digits = raw.substr(i + 1, 2);
        if (digits.size() != 2 || hex(digits[0]) > 15 || hex(digits[1]) > 15) return 400;
        c = static_cast<char>(hex(digits[0]) * 16 + hex(digits[1]));
        if (c == '\0') return 400;
        if (c == '/') return 404;
        i += 2;
      }
      names += c;
    }
    if (names[begin] == '.') return 404;
  }
  return 0;
}

// --- Dates and conditions -----------------------------------------------------------------------

// "Sun, 06 Nov 1994 08:49:37 GMT". Requires a year of four digits, and the locale "C".
inline std::string format_date(std::time_t t) {
  std::array<char, 40> text;
  std::tm utc{};
  ::gmtime_r(&t, &utc);
  return {text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc)};
}

// All three forms of RFC 9110, 5.6.7.
inline std::optional<std::time_t> parse_date(string_view text) {
  const std::string terminated(text);
  for (const char* form :
       {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"}) {
    std::tm utc{};
    const char* const end = text.empty() ? nullptr : ::strptime(terminated.c_str(), form, &utc);
    if (end != nullptr && *end == '\0') return ::timegm(&utc);
  }
  return std::nullopt;
}

// Returns whether the list of entity tags has the strong tag, or is "*". With `takes_weak` a weak
// tag of the list is compared without its "W/".
inline bool lists_tag(string_view list, string_view tag, bool takes_weak) {
  if (list == "*") return true;
  for (;;) {
    list.remove_prefix(std::min(list.find_first_not_of(", \t"), list.size()));
    const bool is_weak = list.starts_with("W/");
    if (is_weak) list.remove_prefix(2);
    const std::size_t end = list.find('"', 1);
    if (!list.starts_with('"') || end == list.npos) return false;
    if (list.substr(0, end + 1) == tag && (takes_weak || !is_weak)) return true;
    list.remove_prefix(end + 1);
  }
}

// Returns 200, 304 or 412 (RFC 9110, 13.2.2), for a file with this tag that was modified then.
inline int evaluate_conditions(const request& r, string_view tag, std::time_t modified) {
  const std::optional<std::time_t> unmodified_since = parse_date(r.if_unmodified_since);
  const std::optional<std::time_t> modified_since = parse_date(r.if_modified_since);
  if (!r.if_match.empty() && !lists_tag(r.if_match, tag, false)) return 412;
  if (r.if_match.empty() && unmodified_since && modified > *unmodified_since) return 412;
  if (!r.if_none_match.empty()) return lists_tag(r.if_none_match, tag, true) ? 304 : 200;
  return modified_since && modified <= *modified_since ? 304 : 200;
}

struct byte_range {
  std::uint64_t first = 0, size = 0;
};

// Sets `part` to what a GET asks for of a file of `size` bytes, and returns 206 or 416. Returns 200
// for the whole file: without a range, with several, and with one that is not understood or is
// meant for another version of the file.
inline int choose_range(const request& r, string_view tag, std::time_t modified, std::uint64_t size,
                        byte_range& part) {
  part = {0, size};
  string_view text = r.range;
  if (r.is_head || !equal_ignoring_case(take_until(text, "="), "bytes")) return 200;
  if (!r.if_range.empty() && r.if_range != tag && parse_date(r.if_range) != modified) return 200;
  text = trim(text);
  if (text.find('-') == text.npos) return 200;
  const string_view from = take_until(text, "-");
  const std::optional<std::uint64_t> last = parse_number(text);
  if (!last && !text.empty()) return 200;
  if (from.empty()) {  // the last bytes
    if (!last || size == 0) return 200;
    part.size = std::min(*last, size);
    part.first = size - part.size;
    return *last == 0 ? 416 : 206;
  }
  const std::optional<std::uint64_t> first = parse_number(from);
  if (!first || (last && *last < *first)) return 200;
  if (*first >= size) return 416;
  part = {*first, std::min(last.value_or(size), size - 1) - *first + 1};
  return 206;
}

}  // namespace http
