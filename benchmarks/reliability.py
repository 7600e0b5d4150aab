"""Counts what became of commands that were killed, or whose system calls failed: tests/test_attack.py writes a line for each.

ATTACK_LOG=attack.jsonl pytest -m long tests/test_attack.py
python -m benchmarks.reliability attack.jsonl --markdown docs/reliability.md
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import check_markers, publish

MARKS = ("<!-- benchmarks.reliability: begin -->", "<!-- benchmarks.reliability: end -->")
COLUMNS = ("killed", "calls that failed", "then the same command", "then another command first", "wrong")


def counted(lines: Iterable[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    """By command: how often each of :data:`COLUMNS`; tries in which the command ended before the fault are not among them."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        if line["happened"]:
            tried = line["tried"]
            counts = found.setdefault(tried["case"], Counter())
            counts["calls that failed" if tried["fault"]["error"] else "killed"] += 1
            counts["then another command first" if tried["other"] else "then the same command"] += 1
            counts["wrong"] += bool(line["wrong"])
    return found


def table(found: Mapping[str, Counter[str]]) -> str:
    total: Counter[str] = sum(found.values(), Counter())
    rows = [f"| command | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * len(COLUMNS)}"]
    for name, counts in [*found.items(), ("all", total)]:
        rows.append(f"| {name} | {' | '.join(str(counts[column]) for column in COLUMNS)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, nargs="+", help="files that ATTACK_LOG named")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts")
    given = parser.parse_args()
    if given.markdown:
        check_markers(given.markdown, MARKS)
    lines = [json.loads(line) for log in given.log for line in log.read_text(encoding="utf-8").splitlines()]
    found = counted(lines)
    publish(given, {name: dict(counts) for name, counts in found.items()}, table(found), MARKS)


if __name__ == "__main__":
    main()
