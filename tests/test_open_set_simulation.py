"""Simulations with strangers in the pool: queries that leave out the least relevant cases ask about fewer of them."""

from __future__ import annotations

import numpy as np
import pytest
from fake_members import fake_tools

from conftest import write_image, write_tiny
from nnactive_ext.cli import plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json
from nnactive_ext.labelling.precision import precision_by_cycle
from nnactive_ext.loop.cycles import run_cycles

CASES, STRANGERS = 16, (1, 4, 6, 9, 11, 14)
WORDS = (
    "-d 100 -patch_size 5 5 3 -starting_budget 6 -query_size 4 -cycles 3 -folds 2 --preset cpu -np 1 --method random -seed 3 "
    "--disable_progress_bar"
)


@pytest.fixture
def pool(nnunet_folders, tmp_path):
    """A dataset in which some images are noise, and the options that say so."""
    folder = write_tiny(nnunet_folders.raw / "Dataset100_Tiny", CASES)
    for number in STRANGERS:
        for channel in range(2):
            noise = np.random.default_rng([number, channel]).normal(100, 30, (24, 26, 14)).astype(np.float32)
            write_image(folder / "imagesTr" / f"tiny_{number}_000{channel}.nii.gz", noise)
        write_image(folder / "labelsTr" / f"tiny_{number}.nii.gz", np.zeros((24, 26, 14), np.uint8))
    strangers, tests = tmp_path / "strangers.txt", tmp_path / "tests.txt"
    strangers.write_text("\n".join(f"tiny_{number}" for number in STRANGERS))
    tests.write_text("tiny_0\ntiny_15\n")
    return f"-irrelevant {strangers} -test {tests}"


def irrelevant_of(pool: str, number: int, screen: str) -> tuple[int, Experiment]:
    """How many patches of both queries were irrelevant."""
    plan.main(f"{WORDS} {pool} -o {number} {screen}".split())
    run_cycles(Experiment.find(number), fake_tools(classes=3), progress=False, say=lambda text: None)
    experiment = Experiment.find(number)
    queries = precision_by_cycle(experiment)[1:]
    return sum(one.irrelevant for one in queries), experiment


@pytest.mark.slow
def test_fewer_strangers_are_asked_about(pool, quick_planning):
    plain, _ = irrelevant_of(pool, 101, "")
    screened, experiment = irrelevant_of(pool, 102, "-screen 0.5")
    first = read_json(experiment.raw / "loop_001.json")["relevance"]
    assert first["by"] == "verdicts", "the starting budget asked about a stranger"
    strange = [case for case in first["scores"] if int(case.split("_")[1]) in STRANGERS]
    assert strange
    assert set(strange) <= set(first["left_out"])
    assert screened == 0 < plain
