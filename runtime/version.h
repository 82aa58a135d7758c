// version: which version of Kedge this is, for C and C++, by semantic versioning (semver.org).
//
//   #if KEDGE_VERSION < KEDGE_VERSION_NUMBER(0, 2, 0)
//
// While the first number is 0, a change of the second may break programs: CHANGELOG.md says how.
// CMakeLists.txt reads the three numbers here; MODULE.bazel repeats them.
#pragma once

#define KEDGE_VERSION_MAJOR 0
#define KEDGE_VERSION_MINOR 1
#define KEDGE_VERSION_PATCH 0
#define KEDGE_VERSION_STRING "0.1.0"

#define KEDGE_VERSION_NUMBER(major, minor, patch) ((major) * 1000000 + (minor) * 1000 + (patch))
#define KEDGE_VERSION \
  KEDGE_VERSION_NUMBER(KEDGE_VERSION_MAJOR, KEDGE_VERSION_MINOR, KEDGE_VERSION_PATCH)
