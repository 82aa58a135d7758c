"""Test files of a folder compiled a few at a time, which takes half as long: they share headers and instances of templates.

CI does so (`--define=tests=merged`). At the desk each file is compiled by itself, so that a change costs one.
"""

# More would take a compiler with sanitizers too much memory.
_FILES_AT_A_TIME = 8

def merged_tests(name, files, alone = []):
    """Returns what to give to a cc_test as srcs.

    Args:
      name: of the target, which the names of the merged files start with
      files: the sources. Those that are not named *_test.cc stay as they are, as does a test that has no others beside it.
      alone: tests that include something under a condition or behind a macro, or define what must not have a namespace around it
    """
    tests = [f for f in files if f.endswith("_test.cc") and f not in alone]
    sources = [f for f in files if f not in tests]
    for start in range(0, len(tests), _FILES_AT_A_TIME):
        part = tests[start:start + _FILES_AT_A_TIME]
        if len(part) == 1:
            sources += part
            continue
        merged = "%s_merged_%d" % (name, start // _FILES_AT_A_TIME)
        native.genrule(
            name = merged,
            testonly = True,
            srcs = part,
            outs = [merged + ".cc"],
            cmd = "python3 $(location //tests:merge.py) $(SRCS) >$@",
            tags = ["manual"],
            tools = ["//tests:merge.py"],
        )
        sources.append(merged + ".cc")
    return select({
        "//tests:merged": sources,
        "//conditions:default": files,
    })
