"""Counts what one Bazel run tested: doctest's test cases, a test of another kind as one, what did not build as one.

Usage: tally.py BUILD_EVENTS_JSON. Prints "P F", and on standard error the name of each target that failed.
"""

import json
import re
import sys
import urllib.parse
import urllib.request

CASES = re.compile(r"\[doctest\] test cases: +\d+ \| +(\d+) passed \| +(\d+) failed")


def log_of(result):
    """The text of a test's log, empty where there is none."""
    for output in result.get("testActionOutput", []):
        if output["name"] == "test.log":
            path = urllib.request.url2pathname(urllib.parse.urlparse(output["uri"]).path)
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
    return ""


def counts_of_test(result):
    cases = CASES.findall(log_of(result))
    passed, failed = sum(int(case[0]) for case in cases), sum(int(case[1]) for case in cases)
    if result["status"] == "PASSED":
        return (passed, failed) if cases else (1, 0)
    return passed, max(failed, 1)  # a crash or a time-out prints no summary


def main():
    passed = failed = 0
    with open(sys.argv[1], encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    for event in events:
        name = event["id"]
        if "testResult" in event:
            label, (good, bad) = name["testResult"]["label"], counts_of_test(event["testResult"])
        elif "targetCompleted" in name and not event.get("completed", {}).get("success"):
            label, good, bad = name["targetCompleted"]["label"], 0, 1
        else:
            continue
        passed, failed = passed + good, failed + bad
        if bad:
            print(f"FAILED: {label}", file=sys.stderr)
    print(passed, failed)


if __name__ == "__main__":
    main()
