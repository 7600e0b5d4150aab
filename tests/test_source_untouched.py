"""The source dataset is read, never written: not by planning, not by querying, not by annotating."""

from __future__ import annotations

import hashlib

from nnactive_ext.cli import plan, query
from nnactive_ext.experiment.experiment import Experiment


def checksums(folder) -> dict[str, tuple[str, int]]:
    """Of every file below ``folder``: the hash of its content and when it was written; folders as names only."""
    found = {}
    for path in sorted(folder.rglob("*")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = (digest, path.stat().st_mtime_ns)
    return found


def test_plan_query_and_annotation_leave_the_source_alone(tiny, quick_planning):
    before = checksums(tiny)
    assert sum(name.startswith("imagesTr/") for name in before) == 16
    plan.main("-d 100 -o 101 -patch_size 5 -query_size 4 -starting_budget 6 --preset cpu --disable_progress_bar".split())
    assert checksums(tiny) == before
    query.main("-d 101 --method random_fg_66 -device cpu --disable_progress_bar".split())
    query.main("-d 101 --method random -device cpu --disable_progress_bar".split())
    assert Experiment.find(101).state["cycle"] == 2
    assert checksums(tiny) == before
