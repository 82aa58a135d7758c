// The words that traces have for Darwin's numbers.
#pragma once

#include <mach/mach.h>

#include <string>
#include <string_view>

namespace conformance {

// KERN_..., MACH_..., MIG_...; "OK" for success. The bits that tell of lack of space follow the
// name.
std::string write_code(kern_return_t code);

mach_msg_type_name_t read_disposition(std::string_view word);
std::string write_disposition(mach_msg_type_name_t disposition);

mach_port_right_t read_right(std::string_view word);

// One of the words of `opt=`.
mach_msg_option_t read_option(std::string_view word);

// "0x" and the number.
std::string write_hex(std::uint64_t value);

}  // namespace conformance
