// <bootstrap.h>: services by name, under its older name.
#pragma once

#include <servers/bootstrap.h>
