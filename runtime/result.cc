// result: the exceptions that value() throws.
#include "kedge/runtime/result.h"

#include "kedge/runtime/awaiting/context.h"

namespace kedge::result_detail {

void raise(std::error_code code, failed_operation operation, const std::source_location& place) {
  description line;
  if (operation.name != nullptr) {
    line.print("%s", operation.name);
    if (operation.object >= 0) line.print(" %d", operation.object);
    line.print(", at ");
  }
  print_place(line, place);
  throw std::system_error(code, line.text());
}

void raise(std::error_code code, const std::string& text, const std::source_location& place) {
  description line;
  line.print(", at ");
  print_place(line, place);
  throw std::system_error(code, text + line.text());
}

void raise_without_code(const std::source_location& place) {
  description line;
  line.print("kedge::result: value() of a failure, at ");
  print_place(line, place);
  throw std::logic_error(line.text());
}

}  // namespace kedge::result_detail
