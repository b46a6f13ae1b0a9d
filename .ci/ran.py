"""Fail unless every test of a committed list really passed: ``ran.py REPORT.xml LIST.txt [--write]``.

A list line is a test's file and name without parameters, and how many of its variants have to pass.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree


def passed(report: Path) -> Counter[str]:
    """How often each test function passed."""
    counts: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        if not any(child.tag in ("failure", "error", "skipped") for child in case):
            counts[f"{case.get('classname')}::{case.get('name', '').partition('[')[0]}"] += 1
    return counts


def main(report: str, listing: str, *options: str) -> int:
    """Compare, or write the list anew."""
    found = passed(Path(report))
    if "--write" in options:
        Path(listing).write_text("".join(f"{name} {count}\n" for name, count in sorted(found.items())))
        return 0
    wanted = {name: int(count) for name, count in (line.split() for line in Path(listing).read_text().splitlines())}
    short = {name: (found[name], count) for name, count in wanted.items() if found[name] < count}
    for name, (got, count) in short.items():
        print(f"{name}: {got} passed, {count} are listed", file=sys.stderr)
    print(f"{sum(found.values())} tests passed, {sum(wanted.values())} are listed in {listing}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
