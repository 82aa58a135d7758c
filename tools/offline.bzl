"""The external repositories, made of what Debian's packages install, so that nothing is downloaded.

Read by WORKSPACE only. A Bazel that reads MODULE.bazel takes them from the central registry instead.
"""

_RULES_CC = """
cc_library = native.cc_library
cc_binary = native.cc_binary
cc_test = native.cc_test
cc_import = native.cc_import
cc_toolchain = native.cc_toolchain
cc_toolchain_suite = native.cc_toolchain_suite

def _nothing(ctx):
    pass

cc_flags_supplier = rule(_nothing)
compiler_flag = rule(_nothing)
"""

# Where Debian's packages of Bazel put what every build by its Bazel 4.2.3 loads.
_OF_DEBIAN = {
    "platforms": "/usr/share/bazel/tools/platforms",
    "rules_java": "/usr/share/bazel/rules/java",
    "rules_proto": "/usr/share/bazel/rules/proto",
}

def _written_impl(repository_ctx):
    for path, text in repository_ctx.attr.files.items():
        repository_ctx.file(path, text)
    for path, target in repository_ctx.attr.links.items():
        repository_ctx.symlink(target, path)

# A repository that consists of the given texts, and of links to folders of the system.
_written = repository_rule(
    implementation = _written_impl,
    attrs = {
        "files": attr.string_dict(doc = "path to text"),
        "links": attr.string_dict(doc = "path to target"),
    },
)

def kedge_repositories():
    """What a workspace needs that depends on Kedge: @rules_cc, @platforms, and what Debian's Bazel itself asks for.

    Call it after the workspace's own declarations. A repository that is declared already stays as it is.
    """

    # Debian's bazel-rules-cc asks for a newer Bazel than Debian's own.
    if not native.existing_rule("rules_cc"):
        _written(
            name = "rules_cc",
            files = {
                "BUILD": "",
                "cc/BUILD": "",
                "cc/defs.bzl": _RULES_CC,
            },
        )

    # Named by every test, used only when coverage is collected.
    if not native.existing_rule("remote_coverage_tools"):
        _written(
            name = "remote_coverage_tools",
            files = {"BUILD": """filegroup(
    name = "coverage_report_generator",
    visibility = ["//visibility:public"],
)
"""},
        )

    for name, path in _OF_DEBIAN.items():
        if not native.existing_rule(name):
            native.local_repository(name = name, path = path)

def development_repositories():
    """What only the tests of this tree need."""

    # doctest-dev puts the header where this host's compiler looks anyway, and one for another system must not look.
    _written(
        name = "doctest",
        files = {"doctest/BUILD": """cc_library(
    name = "doctest",
    hdrs = glob(["include/doctest/*.h"]),
    includes = ["include"],
    visibility = ["//visibility:public"],
)
"""},
        links = {"doctest/include/doctest": "/usr/include/doctest"},
    )
