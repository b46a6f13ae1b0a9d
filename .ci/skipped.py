"""Fail if tests were skipped for other reasons than those named: ``skipped.py REPORT.xml WORD...``."""

from __future__ import annotations

import sys
from xml.etree import ElementTree


def main(report: str, *words: str) -> int:
    """Print every skip; 1 if one of them names none of the words."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    wrong = 0
    for case in cases:
        for skip in case.findall("skipped"):
            if skip.get("type") == "pytest.xfail":
                continue
            reason = skip.get("message") or ""
            known = any(word.lower() in reason.lower() for word in words)
            wrong += not known
            print(f"{'skipped' if known else 'SKIPPED'}: {case.get('classname')}::{case.get('name')}: {reason}")
    print(f"{len(cases)} tests, {wrong} skipped without a reason that is known here")
    return 1 if wrong or not cases else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
