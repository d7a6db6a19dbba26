#!/usr/bin/env python3
"""Compares a run of moto's tests with the list of those that fail, moto.tsv.

    moto_check.py OUTDIR

OUTDIR holds the NAME.jsonl of a run with `-p moto_legal`. Prints a table of services; exits 1
and names the tests that failed and are not listed, and those that are listed and passed.

A line of the list is a test, a category and a reason. `*` in a test's name stands for anything.
`service` needs a service that is not there; `refused` is refused by AWS, too; `moto` holds to what
AWS answers otherwise; `ours` is ours to do. A category with `?` fails at times.
"""
import collections
import fnmatch
import json
import pathlib
import sys

CATEGORIES = ("service", "refused", "moto", "ours")


class Line:
    def __init__(self, text):
        self.test, category, self.reason = text.split("\t")
        self.category, self.at_times = category.rstrip("?"), category.endswith("?")
        if self.category not in CATEGORIES:
            sys.exit(f"moto.tsv: no such category: {text}")
        self.pattern = self.test.replace("[", "[[]")
        self.failed = self.passed = 0

    def matches(self, test):
        return test == self.test or ("*" in self.test and fnmatch.fnmatchcase(test, self.pattern))


def read_list():
    lines = pathlib.Path(__file__).with_name("moto.tsv").read_text().splitlines()
    return [Line(line) for line in lines if line and not line.startswith("#")]


def outcomes(path):
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if "collect_error" in row:
            yield row["collect_error"], "failed"
        elif row.get("outcome") in ("passed", "failed", "error"):
            yield row["id"], row["outcome"]


def share(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else ""


def row(name, n):
    run, passed = n["run"], n["passed"]
    legal = run - n["service"] - n["refused"]
    return (f"| {name} | {run} | {passed} | " + " | ".join(str(n[c] or "") for c in CATEGORIES)
            + f" | {share(passed, run)} | {share(passed, legal)} | {share(passed, legal - n['moto'])} |")


def main():
    out = pathlib.Path(sys.argv[1])
    lines = read_list()
    total = collections.Counter()
    unlisted = []
    print("| service | run | passed | " + " | ".join(CATEGORIES)
          + " | passed of run | without `service`, `refused` | without `moto`, too |")
    print("| --- " * 10 + "|")
    folders = []
    for path in sorted(out.glob("*.jsonl")):
        n = collections.Counter()
        folders.append(f"tests/test_{path.stem}/")
        for test, outcome in outcomes(path):
            line = next((x for x in lines if x.matches(test)), None)
            n["run"] += 1
            if outcome == "passed":
                n["passed"] += 1
                if line:
                    line.passed += 1
            elif line:
                line.failed += 1
                n[line.category] += 1
            else:
                n["unlisted"] += 1
                unlisted.append(test)
        print(row(path.stem.removeprefix("aws"), n))
        total.update(n)
    print(row("all", total))
    stale = [x.test for x in lines if not x.at_times and x.test.startswith(tuple(folders))
             and (x.passed or not x.failed)]
    for title, tests in (("fails and is not listed", unlisted), ("is listed and passed, or is not there", stale)):
        for test in tests:
            print(f"{title}: {test}")
    sys.exit(bool(unlisted or stale))


if __name__ == "__main__":
    main()
