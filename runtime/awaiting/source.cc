// source: how misuse is refused. Out of line, to keep the callers small.
#include "kedge/runtime/awaiting/source.h"

namespace kedge {

void refuse_argument(std::errc e, const char* function) {
  throw std::system_error(std::make_error_code(e), function);
}

}  // namespace kedge
