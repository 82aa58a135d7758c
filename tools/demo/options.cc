// options: the usage, and the parser of the command line.
#include "options.h"

#include <charconv>
#include <limits>
#include <optional>
#include <string_view>

const char help_text[] =
    "Usage: demo [OPTION]... [FILE]\n"
    "Counts lines, words and bytes of FILE, or of standard input, with workers that are\n"
    "services behind Mach ports. The totals are those of wc.\n"
    "\n"
    "  --workers N   how many workers, 1 to 64 (4)\n"
    "  --batch N     bytes per message to a worker, 1 to 262144 (32768)\n"
    "  --kill K      destroy K of the workers midway (0)\n"
    "  --seed N      decides which ones, and when (1)\n"
    "  --help        this text\n";

namespace {

template <class Number>
bool parse_number(std::string_view text, Number& into, std::uint64_t least, std::uint64_t most) {
  std::uint64_t n = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, n);
  if (error != std::errc() || stop != end || n < least || n > most) return false;
  into = static_cast<Number>(n);
  return true;
}

// Sets the option `name`. Returns false if `value` is not valid for it, and nothing if no option
// that takes a value has this name.
std::optional<bool> set(options& o, std::string_view name, std::string_view value) {
  if (name == "--workers") return parse_number(value, o.workers, 1, options::max_workers);
  if (name == "--batch") return parse_number(value, o.batch, 1, options::max_batch);
  if (name == "--kill") return parse_number(value, o.kill, 0, options::max_workers);
  if (name == "--seed") {
    return parse_number(value, o.seed, 0, std::numeric_limits<std::uint64_t>::max());
  }
  return std::nullopt;
}

}  // namespace

kedge::result<options, std::string> parse(int argc, const char* const* argv) {
  options o;
  bool options_ended = false;
  bool file_given = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (options_ended || word == "-" || !word.starts_with('-')) {
      if (file_given) return kedge::unexpected("more than one file: " + std::string(word));
      file_given = true;
      if (options_ended || word != "-") o.file = word;
    } else if (word == "--") {
      options_ended = true;
    } else if (word == "--help") {
      o.help = true;
      return o;
    } else {
      const std::size_t equals = word.find('=');
      const std::string name(word.substr(0, equals));
      if (!set(o, name, "")) return kedge::unexpected("unknown option " + name);
      if (equals == word.npos && i + 1 == argc) return kedge::unexpected(name + " needs a number");
      const std::string value(equals == word.npos ? argv[++i] : word.substr(equals + 1));
      if (!*set(o, name, value)) return kedge::unexpected("bad number for " + name + ": " + value);
    }
  }
  if (file_given && options_ended && o.file.empty())
    return kedge::unexpected(std::string("no name"));
  if (o.kill > o.workers) {
    return kedge::unexpected("cannot destroy " + std::to_string(o.kill) + " of " +
                             std::to_string(o.workers) + " workers");
  }
  return o;
}
