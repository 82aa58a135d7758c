// constant_names: the words of traces for Darwin's constants. The readers throw bad_script.
#pragma once

#include <mach/mach.h>

#include <string>
#include <string_view>

namespace conformance {

// Returns "OK" for success, else the name of the constant: KERN_..., MACH_... or MIG_.... The names
// of the bits for lack of space follow it.
std::string write_code(kern_return_t code);

mach_msg_type_name_t read_disposition(std::string_view word);
std::string write_disposition(mach_msg_type_name_t disposition);

mach_port_right_t read_right(std::string_view word);

// Reads one of the words of `opt=`.
mach_msg_option_t read_option(std::string_view word);

// Returns "0x" and the hexadecimal digits.
std::string write_hex(std::uint64_t value);

}  // namespace conformance
