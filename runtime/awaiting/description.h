// description: one line that says what an operation waits for. Operations fill it in describe(),
// for loop::dump().
#pragma once

#include <algorithm>
#include <cstdarg>
#include <cstddef>
#include <cstdio>

namespace kedge {

class description {
 public:
  // Appends text in printf's format. Cuts off text beyond the line's 159 bytes. Never allocates.
  [[gnu::format(printf, 2, 3)]] void print(const char* format, ...) noexcept {
    va_list arguments;
    va_start(arguments, format);
    const int n = std::vsnprintf(text_ + length_, sizeof text_ - length_, format, arguments);
    va_end(arguments);
    if (n > 0) length_ = std::min(length_ + static_cast<std::size_t>(n), sizeof text_ - 1);
  }
  const char* text() const noexcept { return text_; }

 private:
  char text_[160] = "";
  std::size_t length_ = 0;
};

}  // namespace kedge
