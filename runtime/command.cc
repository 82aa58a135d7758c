// command: its words, in one string.
#include "kedge/runtime/command.h"

#include <cerrno>
#include <system_error>

namespace kedge {

void command::add(std::string_view word) {
  if (word.find('\0') != std::string_view::npos) {
    throw std::system_error(EINVAL, std::system_category(), "kedge::command: a word with a NUL");
  }
  words_.append(word).push_back('\0');
  ++count_;
}

void command::require_word() const {
  if (count_ == 0) {
    throw std::system_error(EINVAL, std::system_category(), "kedge::command: no program");
  }
}

std::vector<char*> command::arguments() {
  std::vector<char*> pointers;
  pointers.reserve(count_ + 1);
  char* word = words_.data();
  for (std::size_t i = 0; i < count_; ++i) {
    pointers.push_back(word);
    word += std::string_view(word).size() + 1;
  }
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace kedge
