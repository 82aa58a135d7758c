// symbols: the names of one task as a trace writes them (GRAMMAR, Names). Each name gets a symbol
// p1, p2, ... in the order in which the names were first seen.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace conformance {

// A valid name that no task gets.
inline constexpr mach_port_name_t bad_name = 0x00fff703;

class symbols {
 public:
  // Hides a name that the player itself uses.
  void hide(mach_port_name_t name) { hidden_.push_back(name); }
  bool hides(mach_port_name_t name) const noexcept;

  // Sets the names that the space of the task holds now, as mach_port_names returns them.
  void set_live(std::vector<mach_port_name_t> names);

  // Returns the name that a token of the trace stands for, bad_name for a retired symbol. Throws
  // bad_script.
  mach_port_name_t read(std::string_view token) const;

  // Returns the token for a name. A live name without a symbol gets one.
  std::string write(mach_port_name_t name);
  // Returns the token for a name of this task that another task prints, or nothing if the name
  // never had a symbol.
  std::optional<std::string> write_known(mach_port_name_t name) const;

  // Returns the symbol of a live name, or 0.
  std::size_t symbol_of(mach_port_name_t name) const noexcept;

  // Retires the symbols of names that are no longer live. They are never used again.
  void retire();

 private:
  struct symbol {
    mach_port_name_t name;
    bool live;
  };
  bool is_live(mach_port_name_t name) const noexcept;

  std::vector<mach_port_name_t> hidden_;
  std::vector<mach_port_name_t> live_;  // ascending
  std::vector<symbol> all_;             // symbol K at K - 1
  std::vector<std::size_t> in_use_;     // live symbols, ascending
  std::unordered_map<mach_port_name_t, std::size_t> newest_;
};

}  // namespace conformance
