// The requests of the subsystem "letters" (letters.h), as the library has them.
#pragma once

#include <cstdint>

#include "kedge/mach/interface.h"

struct count_letters {
  static constexpr mach_msg_id_t id = 5000;
  kedge::mach::text<1024> word;
  struct reply {
    std::uint64_t letters;
  };
};

struct draw {
  static constexpr mach_msg_id_t id = 5001;
  kedge::mach::array<std::int16_t, 7> samples;
  std::uint32_t scale;
  kedge::mach::send_right watcher;
  struct reply {
    kedge::mach::memory_region picture;
  };
};

struct stop {
  static constexpr mach_msg_id_t id = 5002;
};
