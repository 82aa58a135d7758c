// boolean_t, as Darwin's <mach/boolean.h> has it (unsigned on x86_64, signed elsewhere).
#pragma once

#if defined(__x86_64__)
typedef unsigned int boolean_t;
#else
typedef int boolean_t;
#endif

#ifndef TRUE
#define TRUE 1
#endif
#ifndef FALSE
#define FALSE 0
#endif
