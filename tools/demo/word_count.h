// word_count: lines, words and bytes of a text, as wc counts them.
//
// Lines are newlines. A word begins with a printable byte that is not white space and ends at white
// space; other bytes (controls) neither begin nor end one, as GNU's wc has it in the C locale. In a
// locale with characters of several bytes, each byte from 0x80 on counts as printable.
//
// A text may be counted in pieces: a piece is counted with whether it begins inside a word.
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

// Counts one piece. A word that it begins inside of was counted with the piece before.
word_count count_words(std::span<const std::byte> piece, bool in_word) noexcept;

// Whether the piece after this one begins inside a word.
bool ends_in_word(std::span<const std::byte> piece, bool in_word) noexcept;
