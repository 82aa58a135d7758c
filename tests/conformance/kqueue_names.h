// kqueue_names: the words of a kqueue trace for filters, flags, errors and signals.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace conformance {

// Reads a filter's name or number. Throws bad_script.
std::int16_t read_filter(std::string_view word);
std::string write_filter(std::int16_t filter);

// Reads EV_* joined by `+`, other bits as x<hex>. Throws bad_script.
std::uint16_t read_flags(std::string_view words);
std::string write_flags(std::uint16_t flags);

// "OK" is not an error's name: 0 is written as "0".
std::string write_errno(std::int64_t error);

// A signal's number. Nothing for a word that is not the name of one.
std::optional<int> signal_named(std::string_view word);
// The name of a signal, null if a trace has no name for it.
const char* name_of_signal(std::int64_t signal);

}  // namespace conformance
