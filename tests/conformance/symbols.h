// The names of one task as a trace writes them (GRAMMAR, Names): a number for each, in the order in
// which they were first seen.
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace conformance {

// Valid in form; no name that a task gets has it by itself.
inline constexpr mach_port_name_t bad_name = 0x00fff703;

class symbols {
 public:
  // Names that the player itself keeps.
  void hide(mach_port_name_t name) { hidden_.push_back(name); }
  bool hides(mach_port_name_t name) const noexcept;

  // What the task's space holds now: mach_port_names' answer.
  void set_live(std::vector<mach_port_name_t> names);

  // The name that a token of the trace stands for. Throws bad_script.
  mach_port_name_t read(std::string_view token) const;

  // The token for a name; a live one without a symbol gets one.
  std::string write(mach_port_name_t name);
  // The same for a name of this task that another task prints; nothing if it never had a symbol.
  std::optional<std::string> write_known(mach_port_name_t name) const;

  // The symbol of a live name, or 0.
  std::size_t symbol_of(mach_port_name_t name) const noexcept;

  // Symbols of names that are no longer live are retired, for ever.
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
  std::vector<std::size_t> in_use_;     // the live ones, ascending
  std::unordered_map<mach_port_name_t, std::size_t> newest_;
};

}  // namespace conformance
