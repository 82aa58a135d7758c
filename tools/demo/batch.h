// batch: a piece of the input on its way to a worker, and the worker's answer.
//
// One message carries a batch_header and the bytes; the answer is a message with an answer in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kedge/mach/message.h"
#include "word_count.h"

inline constexpr mach_msg_id_t batch_id = 1;
inline constexpr mach_msg_id_t answer_id = 2;

// As the dispatcher keeps it until it has been answered.
struct batch {
  std::uint64_t number = 0;  // from 0 in the order of the input
  bool in_word = false;      // it begins inside a word
  std::vector<std::byte> bytes;
};

struct batch_header {
  std::uint64_t number;
  std::uint32_t size;  // of the bytes that follow; Mach adds zeros
  std::uint32_t in_word;
};

struct answer {
  std::uint64_t number;
  word_count counted;
};
