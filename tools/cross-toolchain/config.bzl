"""The configuration of the Mach-O toolchain for Bazel: its tools, and the few flags that other clangs do not need."""

load(
    "@bazel_tools//tools/cpp:cc_toolchain_config_lib.bzl",
    "feature",
    "flag_group",
    "flag_set",
    "tool_path",
    "with_feature_set",
)
load("@bazel_tools//tools/build_defs/cc:action_names.bzl", "ACTION_NAMES")

_COMPILE = [ACTION_NAMES.c_compile, ACTION_NAMES.cpp_compile]

def _flags(flags, with_features = []):
    return flag_set(actions = _COMPILE, flag_groups = [flag_group(flags = flags)], with_features = with_features)

def _config_impl(ctx):
    # Without optimisation the compiler adds UBSan's traps and debug information by default. No debugger runs these binaries.
    compile_flags = feature(
        name = "default_compile_flags",
        enabled = True,
        flag_sets = [
            _flags(["-fno-sanitize=undefined"]),
            _flags(["-g0"], [with_feature_set(not_features = ["dbg"])]),
            _flags(["-O2", "-DNDEBUG"], [with_feature_set(features = ["opt"])]),
            _flags(["-g"], [with_feature_set(features = ["dbg"])]),
        ],
    )
    return cc_common.create_cc_toolchain_config_info(
        ctx = ctx,
        toolchain_identifier = "mach-o-" + ctx.attr.cpu,
        host_system_name = "local",
        compiler = "clang",
        target_cpu = ctx.attr.cpu,
        target_system_name = ctx.attr.cpu + "-apple-macos",
        # Not "macosx", from which Bazel concludes that the archiver is Apple's libtool.
        target_libc = "libSystem",
        abi_version = "macos",
        abi_libc_version = "macos",
        cxx_builtin_include_directories = [ctx.attr.headers],
        tool_paths = [tool_path(name = name, path = "bin/" + path) for name, path in {
            "ar": "ar",
            "cpp": "clang",
            "gcc": "clang",
            "gcov": "none",
            "ld": "clang",
            "nm": "none",
            "objcopy": "none",
            "objdump": "none",
            "strip": "none",
        }.items()],
        features = [
            feature(name = "opt"),
            feature(name = "dbg"),
            feature(name = "fastbuild"),
            compile_flags,
        ],
    )

mach_o_config = rule(
    implementation = _config_impl,
    attrs = {
        "cpu": attr.string(mandatory = True, doc = "x86_64 or aarch64"),
        "headers": attr.string(mandatory = True, doc = "the folder of the compiler's and Apple's headers"),
    },
    provides = [CcToolchainConfigInfo],
)
