"""Compares what each compiler destroys when an expression with a co_await is left with the tables of this folder.

Usage: compare_expressions.py [--record]. Compiles and runs interrupted_expressions.cc, whose header says what a line means,
by each compiler without and with optimisation. Compares each line with the compiler's table, and the tables with the rules
for authors. Ends with "expressions: N passed, N failed", and exits with 1 if any failed. --record writes the tables instead,
from what is compiled without optimisation.
"""

import collections
import os
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(FOLDER, "interrupted_expressions.cc")
TABLES = {"g++-12": "gcc_12.txt", "clang++-16": "clang_16.txt", "clang++-19": "clang_19.txt"}
LEVELS = ("-O0", "-O2")
NAME_WIDTH, RULE_WIDTH = 36, 20  # the columns of a line, which one space separates
UNRULED = "-"
REFUSED = "refused"
CLEAN = "destroyed: ok  thrown: ok  completed: ok"

Line = collections.namedtuple("Line", "rule endings")


def table_path(compiler):
    return os.path.join(FOLDER, TABLES[compiler])


def parse(text):
    """Returns form to Line, in the order of the text."""
    rows = {}
    for line in text.splitlines():
        name, rule = line[:NAME_WIDTH].rstrip(), line[NAME_WIDTH + 1:NAME_WIDTH + 1 + RULE_WIDTH].rstrip()
        rows[name] = Line(rule, line[NAME_WIDTH + 1 + RULE_WIDTH:].strip())
    return rows


def read_table(compiler):
    with open(table_path(compiler), encoding="utf-8") as file:
        return parse(file.read())


def compile_source(compiler, program, *flags):
    command = [compiler, "-std=c++20", "-w", *flags, "-o", program, SOURCE]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def lines_of(compiler, level, home):
    """Returns the text that the program prints, or an empty one with the reason on standard output."""
    program = os.path.join(home, "expressions")
    run = compile_source(compiler, program, level)
    if run.returncode == 0:
        run = subprocess.run([program], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        print(f"{compiler} {level}: {run.stderr.strip()[-400:] or 'ended with ' + str(run.returncode)}")
        return ""
    return run.stdout


def compare(compiler, level, expected, home):
    """Yields for each form whether the compiler does what its table says."""
    found = parse(lines_of(compiler, level, home))
    absent = Line("", "no line")
    for name in {**expected, **found}:
        now, before = found.get(name, absent), expected.get(name, absent)
        if now != before:
            print(f"{compiler} {level}: {name}: {now.rule} {now.endings}; expected {before.rule} {before.endings}")
        yield now == before


def compare_refusals(compiler, expected, home):
    """Yields for each form that is refused whether the compiler still refuses it."""
    refused = [name for name, line in expected.items() if line.endings == REFUSED]
    for number, name in enumerate(refused, 1):
        accepts = compile_source(compiler, os.path.join(home, "refused"), "-S", f"-DTRY={number}").returncode == 0
        if accepts:
            print(f"{compiler}: {name}: compiles, expected a refusal")
        yield not accepts


def compare_with_rules(tables):
    """Yields for each form whether a rule forbids it exactly if it is unsafe on some compiler."""
    for name in {name: None for table in tables for name in table}:
        lines = [table[name] for table in tables if name in table]
        endings = {line.endings for line in lines}
        if {line.rule for line in lines} == {UNRULED}:
            holds = endings <= {CLEAN, REFUSED}
            wrong = "no rule forbids it, but it is unsafe"
        else:
            holds = endings != {CLEAN}
            wrong = f"the rule {lines[0].rule} forbids it, but it is safe on every compiler"
        if not holds:
            print(f"{name}: {wrong}")
        yield holds


def record():
    with tempfile.TemporaryDirectory() as home:
        for compiler in TABLES:
            with open(table_path(compiler), "w", encoding="utf-8") as file:
                file.write(lines_of(compiler, LEVELS[0], home))


def main():
    if sys.argv[1:] == ["--record"]:
        return record()
    counts = collections.Counter()
    tables = {compiler: read_table(compiler) for compiler in TABLES}
    with tempfile.TemporaryDirectory() as home:
        for compiler, expected in tables.items():
            for level in LEVELS:
                counts.update(compare(compiler, level, expected, home))
            counts.update(compare_refusals(compiler, expected, home))
    counts.update(compare_with_rules(tables.values()))
    print(f"expressions: {counts[True]} passed, {counts[False]} failed")
    return 1 if counts[False] or not counts[True] else 0


if __name__ == "__main__":
    sys.exit(main())
