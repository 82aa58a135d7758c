"""Prints how slow this machine is, in per cent of the one that .ci/budget was measured on, and at least 100.

Each processor does a fixed piece of work, several times; the shortest time counts, so that other work disturbs it little.
"""

import multiprocessing
import time

SECONDS = 0.13  # what the piece took on that machine
TIMES = 5


def work(_):
    """Hashes and sorts words, as compilers do."""
    words = {}
    for i in range(300_000):
        words[str(i * 7919 % 1_000_003)] = i
    return len(sorted(words))


def main():
    processors = multiprocessing.cpu_count()
    shortest = float("inf")
    with multiprocessing.Pool(processors) as pool:
        for _ in range(TIMES):
            start = time.monotonic()
            pool.map(work, range(processors), chunksize=1)
            shortest = min(shortest, time.monotonic() - start)
    print(max(100, round(100 * shortest / SECONDS)))


if __name__ == "__main__":
    main()
