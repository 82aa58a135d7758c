// Error codes in words.
#pragma once

#include <mach/error.h>

#ifdef __cplusplus
extern "C" {
#endif

// Never null (Apple's is for systems that have no codes); the string lives as long as the program.
char* mach_error_string(mach_error_t error_value);

// Where it comes from: "(os/kern)".
char* mach_error_type(mach_error_t error_value);

// "<str> <words>" on standard error; of a code that has no words also type and number.
void mach_error(const char* str, mach_error_t error_value);

#ifdef __cplusplus
}
#endif
