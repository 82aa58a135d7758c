// mark: appends a letter to a string when it is destroyed.
//
// In a coroutine it shows that local destructors ran, and how the coroutine ended: change the
// letter where the coroutine goes on.
#pragma once

#include <string>
#include <utility>

namespace kedge {

class mark {
 public:
  mark(std::string& out, char c) noexcept : letter(c), out_(&out) {}
  mark(mark&& other) noexcept : letter(other.letter), out_(std::exchange(other.out_, nullptr)) {}
  mark& operator=(mark&&) = delete;
  ~mark() {
    if (out_ != nullptr) *out_ += letter;
  }

  char letter;

 private:
  std::string* out_;
};

}  // namespace kedge
