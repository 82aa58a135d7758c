"""clang-tidy 19 over the sources of a cc_library, one cached action per source: what `tools/dev tidy` builds.

    bazel build --aspects=//tools/tidy:tidy.bzl%tidy --output_groups=tidy //runtime/...
"""

def _flags(compilation, fragment, attr):
    """Returns the flags of clang that decide what a source means. Warnings are the compilers' business."""
    flags = fragment.copts + fragment.cxxopts + getattr(attr, "copts", [])
    flags = [flag for flag in flags if not flag.startswith("-W")]
    for option, values in [
        ("-D", compilation.defines.to_list() + compilation.local_defines.to_list()),
        ("-I", compilation.includes.to_list()),
        ("-iquote", compilation.quote_includes.to_list()),
        ("-isystem", compilation.system_includes.to_list()),
    ]:
        flags += [option + value for value in values]
    return flags

def _reports(target, ctx, name, options):
    if CcInfo not in target:
        return []
    compilation = target[CcInfo].compilation_context
    flags = _flags(compilation, ctx.fragments.cpp, ctx.rule.attr)
    reports = []
    for source in [file for each in getattr(ctx.rule.attr, "srcs", []) for file in each.files.to_list()]:
        if source.extension != "cc":
            continue
        report = ctx.actions.declare_file("{}.{}.{}".format(target.label.name, source.basename, name))
        ctx.actions.run_shell(
            # What clang-tidy found goes to the terminal, and its counts of hidden findings nowhere.
            command = '''report=$1 && shift && "$@" >"$report" 2>/dev/null || {
  if [ -s "$report" ]; then cat "$report"; else "$@"; fi
  exit 1
}''',
            arguments = [
                report.path,
                "clang-tidy-19",
                "--quiet",
                "--config-file=" + ctx.file._config.path,
                "--warnings-as-errors=*",
            ] + options + [source.path, "--"] + flags,
            inputs = depset([source, ctx.file._config], transitive = [compilation.headers]),
            outputs = [report],
            mnemonic = "ClangTidy",
            progress_message = "clang-tidy " + source.short_path,
            use_default_shell_env = True,
        )
        reports.append(report)
    return [OutputGroupInfo(tidy = depset(reports))]

def _tidy_impl(target, ctx):
    return _reports(target, ctx, "tidy", [])

def _deep_impl(target, ctx):
    return _reports(target, ctx, "deep", ["--checks=clang-analyzer-*"])

_ATTRS = {"_config": attr.label(default = "//:.clang-tidy", allow_single_file = True)}

tidy = aspect(implementation = _tidy_impl, attrs = _ATTRS, fragments = ["cpp"])

# The analyzer alone, which takes several times as long.
deep = aspect(implementation = _deep_impl, attrs = _ATTRS, fragments = ["cpp"])
