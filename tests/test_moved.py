"""Every address that the documentation and the benchmarks named before modules had rooms can still be imported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nnactive_ext._moved import MOVED

NAMED = {
    "nnactive_ext.annotation.viewers.napari": ["get_reader", "write_task_labels"],
    "nnactive_ext.annotators": ["HumanAnnotator", "SimulatedAnnotator"],
    "nnactive_ext.bench": [],
    "nnactive_ext.budget": ["parse_patch_size"],
    "nnactive_ext.cli": [],
    "nnactive_ext.compare.compare": ["compare"],
    "nnactive_ext.dataset": ["Dataset", "find_dataset"],
    "nnactive_ext.engine": ["Pick", "add_entropy", "allowed_voxels", "box_means", "free_starts", "select"],
    "nnactive_ext.engine.threads": ["cores"],
    "nnactive_ext.ensemble": ["NnUNetEnsemble"],
    "nnactive_ext.environment": ["trainers_folder"],
    "nnactive_ext.errors": ["NnActiveError"],
    "nnactive_ext.experiment": ["Experiment", "locked"],
    "nnactive_ext.files": ["read_json"],
    "nnactive_ext.intake": [],
    "nnactive_ext.labels": ["fill", "write_label"],
    "nnactive_ext.loops": ["loop_file", "read_loop"],
    "nnactive_ext.metrics": [],
    "nnactive_ext.patch": ["Patch", "Triple", "triple"],
    "nnactive_ext.phantom": ["write_dataset"],
    "nnactive_ext.preprocessing": ["preprocess", "refresh"],
    "nnactive_ext.query": ["query_cycle"],
    "nnactive_ext.query_methods.aggregation": ["Largest"],
    "nnactive_ext.query_methods.base": ["Query", "Request", "ScoredCase", "ScoredPatch", "Statistics"],
    "nnactive_ext.query_methods.identity": ["identity"],
    "nnactive_ext.query_methods.methods": ["METHODS"],
    "nnactive_ext.query_methods.occupancy": ["Occupancy"],
    "nnactive_ext.query_methods.options": ["with_options"],
    "nnactive_ext.query_methods.perturbation": ["parse_beta"],
    "nnactive_ext.query_methods.precomputed": ["Precomputed"],
    "nnactive_ext.query_methods.random_patches": ["draw_true"],
    "nnactive_ext.query_methods.scores": ["bald", "predictive_entropy"],
    "nnactive_ext.query_methods.stratification": ["class_shares"],
    "nnactive_ext.query_methods.uncertainty": ["Uncertainty"],
    "nnactive_ext.query_methods.words": ["words"],
    "nnactive_ext.randomness": ["generator"],
    "nnactive_ext.report": [],
    "nnactive_ext.statistics": ["ACCUMULATORS", "RunningStatistics"],
    "nnactive_ext.text_report": ["table"],
    "nnactive_ext.timing": ["read_times"],
    "nnactive_ext.trainers.nnActiveTrainer": ["nnActiveTrainer"],
}
"""Module -> names in it, as README, docs/, benchmarks/, query_methods/ and pyproject.toml had them before the moves."""

LOOK = """
import importlib, json, sys, warnings
found = {}
for address, names in json.loads(sys.argv[1]).items():
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            module = importlib.import_module(address)
    except Exception as error:
        found[address] = {"error": repr(error)}
        continue
    found[address] = {
        "missing": [name for name in names if not hasattr(module, name)],
        "warned": [str(w.message) for w in caught if issubclass(w.category, DeprecationWarning) and address in str(w.message)],
        "name": module.__name__,
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict:
    """What a fresh process, in which nothing has been imported by its new address, finds at each old one."""
    done = subprocess.run([sys.executable, "-c", LOOK, json.dumps(NAMED)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # nnU-Net prints lines of its own before


@pytest.mark.slow
def test_every_address_that_was_documented_imports(found):
    assert {address: what for address, what in found.items() if what.get("error") or what["missing"]} == {}


@pytest.mark.slow
def test_exactly_the_moved_addresses_warn_and_are_the_module_at_its_new_one(found):
    moved = {f"nnactive_ext.{old}": f"nnactive_ext.{new}" for old, new in MOVED.items()}
    assert {address for address, what in found.items() if what["warned"]} == set(moved) & set(NAMED)
    assert {address: what["name"] for address, what in found.items() if address in moved} == {
        address: moved[address] for address in NAMED if address in moved
    }


def test_an_address_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        __import__("nnactive_ext.nowhere")


def test_the_changelog_lists_the_table():
    text = (Path(__file__).parent.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `nnactive_ext\.([\w.]+)` \| `nnactive_ext\.([\w.]+)` \|$", text, re.MULTILINE))
    assert rows == MOVED
