"""Holds counts of the benchmarks against tools/bench/limits.txt, without a clock: of all of the runtime, and of some of Mach.

Usage: hold_counts.py BENCH [--record]. BENCH is the program. A count fails if it is more than 2 % above its limit. A count
that is more than 5 % below is named, so that the limit is lowered. Ends with "counts: N passed, N failed", and exits with
1 if any failed. --record writes what is counted into limits.txt, and the table of README.md. A metric that limits.txt does
not hold ("-") stays so.
"""

import concurrent.futures
import os
import re
import subprocess
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
LIMITS = os.path.join(FOLDER, "limits.txt")
README = os.path.join(FOLDER, "README.md")
METRICS = ("instr", "allocs", "calls", "bytes")
ABOVE, BELOW = 1.02, 0.95
ROUNDING = 0.01  # one-time costs, shared by the operations of a run
NOT_HELD = "-"
TABLE = re.compile(r"(<!-- counts -->\n).*?(<!-- end of counts -->\n)", re.DOTALL)


def operations(bench):
    """Returns the name of each benchmark of the suite to what it does."""
    listed = subprocess.run([bench, "--held"], capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in listed.splitlines())


def count_once(bench, name):
    """Returns metric to count. A metric that this machine cannot count is absent."""
    run = subprocess.run([bench, "--no-time", "-o", name], capture_output=True, text=True, check=False)
    if run.returncode != 0 or run.stderr:
        print(f"{name}: {run.stderr.strip() or 'ended with ' + str(run.returncode)}")
    return {metric: float(value) for metric, value in re.findall(rf"^kedge {name}_(\w+) (\S+)", run.stdout, re.MULTILINE)}


def count(bench, name):
    """Returns metric to count: of Mach, whose kernel draws names at random that may meet in a table, the least of three runs."""
    runs = [count_once(bench, name) for _ in range(3 if name.startswith("mach_") else 1)]
    return {metric: min(run.get(metric, value) for run in runs) for metric, value in runs[0].items()}


def count_all(bench, names):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(lambda name: count(bench, name), names)))


def read_limits():
    """Returns name to metric to limit, as text."""
    with open(LIMITS, encoding="utf-8") as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {name: dict(zip(METRICS, values)) for name, *values in lines}


def as_text(value):
    value = round(value, 2) + 0.0  # no minus zero
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def compare(name, metric, value, limit):
    """Returns whether the count holds."""
    if value is None:
        print(f"{name}: {metric} was not counted")
        return False
    if value > float(limit) * ABOVE + ROUNDING:
        print(f"{name}: {metric} {as_text(value)}, at most {limit}")
        return False
    if value < float(limit) * BELOW - ROUNDING:
        print(f"{name}: {metric} {as_text(value)} is below the limit {limit}: lower it by tools/dev counts --record")
    return True


def table_of(operation_of, limits):
    rows = [("benchmark", "operation", *METRICS), ("---",) * 2 + ("---:",) * len(METRICS)]
    rows += [(f"`{name}`", operation_of[name], *(limits[name][metric] for metric in METRICS)) for name in operation_of]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def read_readme():
    with open(README, encoding="utf-8") as file:
        return file.read()


def record(operation_of, counted):
    held = read_limits()
    limits = {}
    for name in operation_of:
        limits[name] = {
            metric: NOT_HELD if metric not in counted[name] or held.get(name, {}).get(metric) == NOT_HELD
            else as_text(counted[name][metric]) for metric in METRICS}
    with open(LIMITS, "w", encoding="utf-8") as file:
        file.write("# Counts per operation, which tools/bench/hold_counts.py holds and records. \"-\": not held.\n")
        file.write(f"# {'':<20}" + "".join(f"{metric:>9}" for metric in METRICS) + "\n")
        for name, row in limits.items():
            file.write(f"{name:<22}" + "".join(f"{row[metric]:>9}" for metric in METRICS) + "\n")
    text = TABLE.sub(lambda old: old[1] + table_of(operation_of, limits) + old[2], read_readme())
    with open(README, "w", encoding="utf-8") as file:
        file.write(text)


def hold(operation_of, counted):
    """Returns how many counts hold, and how many do not."""
    limits = read_limits()
    held = [compare(name, metric, counted[name].get(metric), limit)
            for name in operation_of for metric, limit in limits.get(name, {}).items() if limit != NOT_HELD]
    if list(limits) != list(operation_of):
        print("limits.txt has other benchmarks than the program: run tools/dev counts --record")
        held.append(False)
    else:
        held.append(table_of(operation_of, limits) in read_readme())
        if not held[-1]:
            print("the table of README.md is not what limits.txt says: run tools/dev counts --record")
    return held.count(True), held.count(False)


def main():
    bench = sys.argv[1]
    operation_of = operations(bench)
    counted = count_all(bench, operation_of)
    if sys.argv[2:] == ["--record"]:
        return record(operation_of, counted)
    passed, failed = hold(operation_of, counted)
    print(f"counts: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
