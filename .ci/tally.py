"""Counts what one Bazel run tested: the test cases of a test program, a test of another kind as one, a failed build as one.

Usage: tally.py BUILD_EVENTS_JSON. Prints "P F", and on standard error the name of each target that failed.
"""

import json
import re
import sys
import urllib.parse
import urllib.request

# The last line of tests/doctest_main.cc. A file that crashed has one failure at least.
CASES = re.compile(r"^\d+ files: (\d+) passed, (\d+) failed", re.MULTILINE)


def log_of(result):
    """Returns the text of a test's log, or an empty string if there is none."""
    for output in result.get("testActionOutput", []):
        if output["name"] == "test.log":
            path = urllib.request.url2pathname(urllib.parse.urlparse(output["uri"]).path)
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
    return ""


def counts_of_test(result):
    cases = CASES.findall(log_of(result))
    passed, failed = (int(count) for count in cases[-1]) if cases else (0, 0)
    if result["status"] == "PASSED":
        return (passed, failed) if cases else (1, 0)
    return passed, max(failed, 1)  # a program that Bazel stopped prints no last line


def main():
    passed = failed = 0
    with open(sys.argv[1], encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    # A library that is for another system is not built. A test that Bazel skips has failed.
    tests = {event["id"]["targetConfigured"]["label"] for event in events
             if event.get("configured", {}).get("targetKind", "").endswith("_test rule")}
    for event in events:
        name = event["id"]
        if "testResult" in event:
            label, (good, bad) = name["testResult"]["label"], counts_of_test(event["testResult"])
        elif "targetCompleted" in name and not event.get("completed", {}).get("success"):
            label, good, bad = name["targetCompleted"]["label"], 0, 1
            if event.get("aborted", {}).get("reason") == "SKIPPED" and label not in tests:
                print(f"for another system: {label}", file=sys.stderr)
                continue
        else:
            continue
        passed, failed = passed + good, failed + bad
        if bad:
            print(f"FAILED: {label}", file=sys.stderr)
    print(passed, failed)


if __name__ == "__main__":
    main()
