// <mach/exception.h>: includes the numbers and types of exceptions.
#pragma once

#include <mach/exception_types.h>
