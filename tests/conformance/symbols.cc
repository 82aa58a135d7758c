#include "symbols.h"

#include <algorithm>
#include <utility>

#include "script.h"

namespace conformance {

bool symbols::hides(mach_port_name_t name) const noexcept {
  return std::find(hidden_.begin(), hidden_.end(), name) != hidden_.end();
}

void symbols::set_live(std::vector<mach_port_name_t> names) {
  live_ = std::move(names);
  std::sort(live_.begin(), live_.end());
}

bool symbols::is_live(mach_port_name_t name) const noexcept {
  return std::binary_search(live_.begin(), live_.end(), name);
}

mach_port_name_t symbols::read(std::string_view token) const {
  if (token == "null") return MACH_PORT_NULL;
  if (token == "dead") return MACH_PORT_DEAD;
  if (token == "bad") return bad_name;
  if (token.size() < 2 || token[0] != 'p') throw bad_script("a name is missing", token);
  const std::size_t number = read_number<std::size_t>(token.substr(1));
  if (number == 0) throw bad_script("symbols count from 1", token);
  return number <= all_.size() && all_[number - 1].live ? all_[number - 1].name : bad_name;
}

std::size_t symbols::symbol_of(mach_port_name_t name) const noexcept {
  const auto found = newest_.find(name);
  return found != newest_.end() && all_[found->second - 1].live ? found->second : 0;
}

std::optional<std::string> symbols::write_known(mach_port_name_t name) const {
  const auto found = newest_.find(name);
  if (found == newest_.end()) return std::nullopt;
  std::string text = "p" + std::to_string(found->second);
  if (!all_[found->second - 1].live) text += '~';
  return text;
}

std::string symbols::write(mach_port_name_t name) {
  if (name == MACH_PORT_NULL) return "null";
  if (name == MACH_PORT_DEAD) return "dead";
  if (name == bad_name) return "bad";
  if (hides(name)) return "hidden";
  if (symbol_of(name) == 0 && is_live(name)) {
    all_.push_back({name, true});
    in_use_.push_back(all_.size());
    newest_[name] = all_.size();
  }
  return write_known(name).value_or("gone");
}

void symbols::retire() {
  std::erase_if(in_use_, [this](std::size_t number) {
    symbol& each = all_[number - 1];
    each.live = is_live(each.name);
    return !each.live;
  });
}

}  // namespace conformance
