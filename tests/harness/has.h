// has(): whether a report has a part. Shows the report if it has not.
#pragma once

#include <doctest/doctest.h>

#include <string>

inline bool has(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE("no \"" << part << "\" in:\n" << text);
  return false;
}
