// One line that says what an operation waits for; filled by operation::describe() for loop::dump().
#pragma once

#include <cstdarg>
#include <cstdio>

namespace kedge {

class description {
 public:
  // printf's format; cut at the line's length. Never allocates.
  [[gnu::format(printf, 2, 3)]] void print(const char* format, ...) noexcept {
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text_, sizeof text_, format, arguments);
    va_end(arguments);
  }
  const char* text() const noexcept { return text_; }

 private:
  char text_[120] = "";
};

}  // namespace kedge
