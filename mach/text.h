// text: up to N - 1 characters, which a typed request or reply holds in place.
//
//     struct count_letters {
//       static constexpr mach_msg_id_t id = 5000;
//       mach::text<1024> word;                              // MIG: c_string[*:1024]
//     };
//
// A message carries only the characters that there are, and a zero behind them, which N counts.
// Copying costs by size(), not by N.
//
// Errors: making or assigning one throws std::length_error if there are more characters than N - 1,
// and std::invalid_argument if one of them is zero, at which C's strings end.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace kedge::mach {

template <std::size_t N>
class text {
  static_assert(N > 0, "a text has room for the zero at its end at least");

 public:
  // How many characters there can be.
  static constexpr std::size_t max_size() noexcept { return N - 1; }

  // Empty. Only the characters that there are have a value.
  text() noexcept { characters_[0] = '\0'; }
  text(std::string_view from) {
    if (from.size() > max_size()) {
      throw std::length_error("kedge::mach::text: more characters than there is room for");
    }
    if (from.find('\0') != from.npos) {
      throw std::invalid_argument("kedge::mach::text: a zero among the characters");
    }
    assign(from);
  }
  text(const char* from) : text(std::string_view(from)) {}
  text(const std::string& from) : text(std::string_view(from)) {}
  text(const text& other) noexcept { assign(other.view()); }
  text& operator=(const text& other) noexcept {
    if (this != &other) assign(other.view());
    return *this;
  }
  ~text() = default;

  std::string_view view() const noexcept { return {characters_, size_}; }
  operator std::string_view() const noexcept { return view(); }
  const char* c_str() const noexcept { return characters_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

  bool operator==(std::string_view other) const noexcept { return view() == other; }

 private:
  friend class message_decoder;

  void assign(std::string_view from) noexcept {
    size_ = from.copy(characters_, from.size());
    characters_[size_] = '\0';
  }

  std::size_t size_ = 0;
  char characters_[N];
};

}  // namespace kedge::mach
