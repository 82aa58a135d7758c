// word_count: lines, words and bytes of a text, as wc counts them.
//
// The number of lines is that of newlines. A word begins with a printable byte that is not white
// space and ends at white space. Other bytes (controls) neither begin nor end a word, as in GNU's
// wc in the C locale. In a locale with multibyte characters each byte from 0x80 on counts as
// printable.
//
// A text may be counted in pieces, each with whether it begins inside a word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

struct word_count {
  std::uint64_t lines = 0;
  std::uint64_t words = 0;
  std::uint64_t bytes = 0;

  word_count& operator+=(const word_count& more) noexcept {
    lines += more.lines;
    words += more.words;
    bytes += more.bytes;
    return *this;
  }
};

// Counts one piece. With `in_word` the piece begins inside a word, which the piece before counted.
word_count count_words(std::span<const std::byte> piece, bool in_word) noexcept;

// Returns whether the piece after this one begins inside a word.
bool ends_in_word(std::span<const std::byte> piece, bool in_word) noexcept;
