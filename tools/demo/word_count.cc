// word_count: classifies each byte by the C library's ctype, as wc does.
#include "word_count.h"

#include <array>
#include <cctype>
#include <clocale>
#include <cstdlib>

namespace {

enum class kind : unsigned char { neither, space, word };

std::array<kind, 256> kinds_of_bytes() {
  std::setlocale(LC_CTYPE, "");
  std::array<kind, 256> kinds{};
  for (int c = 0; c < 256; ++c) {
    const bool part_of_character = MB_CUR_MAX > 1 && c >= 0x80;
    kinds[static_cast<std::size_t>(c)] = std::isspace(c) != 0 ? kind::space
                                         : std::isprint(c) != 0 || part_of_character
                                             ? kind::word
                                             : kind::neither;
  }
  return kinds;
}

const std::array<kind, 256> kinds = kinds_of_bytes();

kind kind_of(std::byte b) noexcept {
  return kinds[std::to_integer<unsigned char>(b)];
}

}  // namespace

word_count count_words(std::span<const std::byte> piece, bool in_word) noexcept {
  word_count counted;
  counted.bytes = piece.size();
  for (const std::byte b : piece) {
    const kind k = kind_of(b);
    counted.lines += b == std::byte{'\n'};
    counted.words += k == kind::word && !in_word;
    in_word = k == kind::word || (k == kind::neither && in_word);
  }
  return counted;
}

bool ends_in_word(std::span<const std::byte> piece, bool in_word) noexcept {
  for (; !piece.empty(); piece = piece.first(piece.size() - 1)) {
    if (kind_of(piece.back()) != kind::neither) return kind_of(piece.back()) == kind::word;
  }
  return in_word;
}
