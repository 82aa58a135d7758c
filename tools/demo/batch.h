// batch: a piece of the input that a worker counts, and the messages that carry it.
//
// A request has a batch_header and then the bytes. A reply has an answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "kedge/mach/message.h"
#include "word_count.h"

inline constexpr mach_msg_id_t batch_id = 1;
inline constexpr mach_msg_id_t answer_id = 2;

// The dispatcher keeps a batch until it has the answer.
struct batch {
  batch(std::uint64_t n, bool begins_in_word, std::vector<std::byte> content)
      : number(n), in_word(begins_in_word), bytes(std::move(content)) {}

  std::uint64_t number;  // from 0, in the order of the input
  bool in_word;          // whether it begins inside a word
  std::vector<std::byte> bytes;
};

struct batch_header {
  std::uint64_t number;
  std::uint32_t size;  // of the bytes that follow, without Mach's padding
  std::uint32_t in_word;
};

struct answer {
  std::uint64_t number;
  word_count counted;
};
