"""Prints one source file that holds test files. Usage: merge.py FILE...

The includes come first. Each file then has a namespace of its own, inside of its namespace kedge if it has one, so that two
files may define the same name. Its lines and its macros stay its own.
"""

import os
import re
import sys

OPENING = re.compile(r"namespace (kedge[\w:]*) \{$")

# The lines say that they come from other files than the one that is compiled, so g++ takes them for those of headers.
HEADER_WARNING = """#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif"""


def fail(file, number, why):
    sys.exit(f"{file}:{number}: cannot be merged with other tests: {why}. Name it in `alone` in the BUILD file")


def whole_include(line, folder):
    """Returns the include with a path from the root, where the merged file finds a header of the test's folder."""
    return re.sub(r'"([^/"]+)"', rf'"{folder}/\1"', line)


def merge(files):
    includes, body = [], []
    for k, file in enumerate(files):
        space = f"merged_{k}"
        macros, depth = [], 0
        with open(file, encoding="utf-8") as opened:
            lines = opened.read().splitlines()
        inside = any(OPENING.match(line) for line in lines)
        body.append(f'#line 1 "{file}"' if inside else f'namespace {space} {{\n#line 1 "{file}"')
        for number, line in enumerate(lines, 1):
            word = (re.match(r"#\s*(\w+)", line) or [None, None])[1]
            depth += {"if": 1, "ifdef": 1, "ifndef": 1, "endif": -1}.get(word, 0)
            if word == "include":
                if depth != 0 or macros:
                    fail(file, number, "an include under a condition, or behind a macro of the file")
                includes.append(whole_include(line, os.path.dirname(file)))
                line = ""
            elif word == "define":
                macros.append(re.match(r"#\s*define\s+(\w+)", line)[1])
            elif opening := OPENING.match(line):
                line = f"namespace {opening[1]}::{space} {{"
            body.append(line)
        if not inside:
            body.append("}")
        body += [f"#undef {macro}" for macro in macros]
    return [HEADER_WARNING, *dict.fromkeys(includes), *body]


if __name__ == "__main__":
    print("\n".join(merge(sys.argv[1:])))
