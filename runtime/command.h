// command: a program and its arguments, as a process is started with.
//
//     kedge::process p(loop, {"sh", "-c", script});
//     kedge::process q(loop, kedge::command(words));      // a vector or a span of strings
//
// Owns copies of its words. The first one names the program: by a path if it has a slash, else by a
// name that is looked up in the folders of PATH: this program's PATH, also if the process is given
// an environment with another one. Any thread may make, copy and drop one.
#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kedge {

class command {
 public:
  // All throw std::system_error (EINVAL) without a word, or if a word contains a NUL, and
  // std::bad_alloc.
  template <class... Words>
    requires(sizeof...(Words) > 0 && (std::convertible_to<const Words&, std::string_view> && ...))
  command(const Words&... words) {
    (add(words), ...);
    require_word();
  }
  template <class Words>
    requires(!std::convertible_to<const Words&, std::string_view> &&
             requires(const Words& words) {
               { *words.begin() } -> std::convertible_to<std::string_view>;
               words.end();
             })
  command(const Words& words) {
    for (const auto& word : words) add(word);
    require_word();
  }

  // The first word. Valid while the command lives.
  const char* program() const noexcept { return words_.c_str(); }

  // Returns the words for exec(3), with a null behind them. They are valid while the command lives.
  // Throws std::bad_alloc.
  std::vector<char*> arguments();

 private:
  void add(std::string_view word);
  void require_word() const;

  std::string words_;  // each with a NUL behind it
  std::size_t count_ = 0;
};

}  // namespace kedge
