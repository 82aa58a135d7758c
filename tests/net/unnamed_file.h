// unnamed_file(): an empty file that has no name and vanishes with its descriptor.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "kedge/net/owned_fd.h"

namespace kedge::net {

inline owned_fd unnamed_file() {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), &std::fclose);
  REQUIRE(file != nullptr);
  return owned_fd(::dup(::fileno(file.get())));
}

}  // namespace kedge::net
