"""Default budgets of roll-outs are a small part of labelling everything; what is typed is not lowered, only compared."""

from __future__ import annotations

from dataclasses import replace

import phantoms
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.cli import plan as plan_command
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.planning.hours import Hours, member_hours
from nnactive_ext.planning.sizes import LEAST_PER_CLASS, LEAST_PER_QUERY, capped_query


@given(
    st.integers(1, 2000),
    st.integers(1, 9),
    st.none() | st.integers(0, 300),
    st.integers(1, 20),
    st.floats(1, 1e6),
    st.integers(10**4, 10**9),
)
def test_the_cap(query, cycles, starting, classes, voxels, pool):
    """At most a tenth of the pool, unless classes would starve; never more than was decided before."""
    found = capped_query(query, cycles, starting, classes, voxels, pool)
    total = (found if starting is None else starting) + (cycles - 1) * found
    assert 1 <= found <= query
    starving = found <= LEAST_PER_QUERY * classes or total <= LEAST_PER_CLASS * classes + cycles
    assert total * voxels <= 0.1 * pool or starving or total == starting
    if found < query:  # one more would be too much
        assert (total + cycles) * voxels > 0.1 * pool


@pytest.fixture
def planned(nnunet_folders, tmp_path, quick_planning):
    def made(kind: str, options: str) -> Experiment:
        cases = {f"case_{n}": phantoms.KINDS[kind](n) for n in range(6)}
        names = next(iter(cases.values())).names
        folder = phantoms.write_folder(tmp_path / kind, cases)
        words = f"-i {folder} -o 601 -name {kind} --labels {' '.join(names)} {options} --preset cpu -np 1"
        plan_command.main(
            [*words.split(), "--disable_progress_bar", *(["-pattern", "{case}_{channel}"] if kind == "brain_mri" else [])]
        )
        return Experiment.find(601)

    return made


def rows(experiment: Experiment) -> dict[str, tuple[str, str]]:
    return {what: (value, why) for what, value, why in experiment.plan.decisions if what}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "patch"), [("thick_mri", "3 16 16"), ("brain_mri", "8 8 8"), ("cardiac", "2 10 10")])
def test_default_budgets(planned, kind, patch):
    plan = (experiment := planned(kind, f"-patch_size {patch}")).plan
    voxels, pool = plan.voxels
    patches = plan.starting_budget + (plan.cycles - 1) * plan.query_size
    classes = len(experiment.dataset.labels.foreground)
    assert patches * voxels <= 0.1 * pool or patches <= LEAST_PER_CLASS * classes + plan.cycles
    told = rows(experiment)
    lifted = int(told["query size"][1].rpartition("-query_size ")[2].split()[0])
    assert lifted > plan.query_size, "the flag that lifts it has the number without it"
    hours = float(told["complete labelling"][0].removesuffix(" h").replace(",", ""))
    assert hours == pytest.approx(pool / voxels * 3 / 60, rel=0.02)


def test_what_is_typed_is_not_lowered(planned, capsys):
    plan = planned("thick_mri", "-patch_size 3 16 16 -query_size 40 -starting_budget 50").plan
    assert (plan.query_size, plan.starting_budget) == (40, 50)
    (warning,) = [row for row in plan.decisions if row[0] == "WARNING" and "of the pool" in row[1]]
    assert "-query_size" in warning[2]


def test_simulations_keep_the_published_query_sizes(tiny, quick_planning):
    """Two classes: 50 patches each, or as many as half of the pool holds."""
    options = "-patch_size 3 3 3 -folds 3 --preset cpu -np 1 --disable_progress_bar"
    plan_command.main(f"-d 100 -o 102 {options}".split())
    assert Experiment.find(102).plan.query_size == 100


def test_hours_that_are_typed_win(planned):
    told = rows(planned("brain_mri", "-patch_size 8 8 8 -training_hours 0.5"))["training"]
    assert "30 min" in told[0]
    assert "as asked for" in told[1]


def test_hours_that_are_timed(planned):
    """10 epochs of 50 iterations of 0.1 s and 5 of 0.02 s, after 3 s: 54 s."""
    assert "54 s" in rows(planned("brain_mri", "-patch_size 8 8 8"))["training"][0]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "iterations", "hours"), [("nnActiveTrainer", "", 2), ("nnActiveTrainer_50epochs", "500", 1)])
def test_hours_that_are_assumed(planned, monkeypatch, name, iterations, hours):
    plan = planned("brain_mri", "-patch_size 8 8 8").plan
    monkeypatch.setenv("nnactive_iterations_per_epoch", iterations)
    found = member_hours(replace(plan, preset=None, trainer=name), {}, None)
    assert found.value == hours
    assert "assumed" in found.why


def test_a_timing_that_fails_is_told(planned):
    found = member_hours(planned("brain_mri", "-patch_size 8 8 8").plan, {}, lambda training: "no disk")
    assert isinstance(found, Hours)
    assert "no disk" in found.why
