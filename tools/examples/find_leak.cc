// find_leak: the ledger tells which line of a program has got a right that it still owns.
//
// Builds of the library without NDEBUG keep the ledger. A test calls ledger::expect_empty() at its
// end; this program prints what is left instead.
#include <cstdio>
#include <string_view>
#include <vector>

#include "kedge/mach/ledger.h"
#include "kedge/mach/receive_right.h"
#include "kedge/mach/send_right.h"

namespace mach = kedge::mach;

// A cache that forgets to forget.
std::vector<mach::send_right> cache;

void look_up(const mach::receive_right& port) {
  cache.push_back(port.make_send());
}

int main() {
  if (!mach::ledger::is_kept()) {
    std::puts("this build keeps no ledger");
    return 0;
  }
  {
    const auto port = mach::receive_right::make();
    for (int i = 0; i < 3; ++i) look_up(port);
  }
  for (const mach::ledger::entry& left : mach::ledger::entries()) {
    const std::string_view path = left.where.file_name();
    const std::string_view file = path.substr(path.rfind('/') + 1);
    std::printf("%llu objects own a right of %.*s:%u\n", (unsigned long long)left.objects,
                int(file.size()), file.data(), unsigned(left.where.line()));
  }
  cache.clear();
  mach::ledger::expect_empty();
  std::puts("now there is none");
}
