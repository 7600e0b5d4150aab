"""Files damaged at random: every reader reads them or refuses them in words; nothing hangs, nothing is changed."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from fuzz_experiments import of_its_own, of_simulation
from fuzz_seeds import SEEDS
from fuzz_targets import every
from fuzzing import READ, REFUSED, Target, Try, outcome_of, table, tried
from reliability import written_down

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="readers run in forked processes with limited memory")
FEW, SOME, MANY = 60, 400, 3000
"""Mutations in the default tests, the slow ones and the long one."""


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory, finished_template) -> list[Target]:
    pytest.importorskip("pydicom")
    folder = tmp_path_factory.mktemp("good")
    return [*every(folder), *of_simulation(finished_template.raw.parent), *of_its_own()]


def mutations(targets: Sequence[Target], number: int, seed: int) -> list[tuple[Target, bytes]]:
    rng = random.Random(seed)
    chosen = [targets[i % len(targets)] for i in range(number)]
    return [(target, target.damaged(rng)) for target in chosen]


def failures(tries: Sequence[Try]) -> str:
    return "\n".join(str(one) for one in tries if one.failed)


def test_all_good_files_are_read_and_all_seeds_refused_or_read(targets, tmp_path):
    by_name = {target.name: target for target in targets}
    good = tried([(target, target.content) for target in targets], tmp_path / "good")
    assert [str(one) for one in good if one.outcome != READ] == []
    kept = [(by_name[name], damage(by_name[name].content)) for name, damage in SEEDS.values()]
    assert not failures(tried(kept, tmp_path / "seeds"))
    few = mutations(targets, FEW, 1)
    assert not failures(tried(few, tmp_path / "few"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_some_hundred_mutations(targets, tmp_path, seed):
    assert not failures(tried(mutations(targets, SOME, seed), tmp_path))


@pytest.mark.long
def test_thousands_of_mutations(targets, tmp_path):
    done = tried(mutations(targets, MANY, 4), tmp_path)
    written_down("readers", table(done))
    assert not failures(done)


def test_the_fuzzer_finds_what_is_wrong(tmp_path):
    def reader(file: Path) -> None:
        content = file.read_bytes()
        if content == b"hang":
            while True:
                pass
        if content == b"die":
            sys.stdout.flush()
            import os

            os.kill(os.getpid(), 9)
        if content == b"change":
            file.write_bytes(b"")
        if content == b"much":
            bytearray(1 << 40)
        int(content)

    target = Target("numbers", "n.txt", b"1", reader)
    for content, outcome in ((b"1", READ), (b"x", "ValueError"), (b"change", "changed"), (b"die", "died -9")):
        (one,) = tried([(target, content)], tmp_path / content.decode())
        assert one.outcome.startswith(outcome)
        assert one.failed == (outcome != READ)
    (one,) = tried([(target, b"hang")], tmp_path / "hang", patience=0.3)
    assert one.outcome == "hung"
    (one,) = tried([(target, b"much")], tmp_path / "much")
    assert one.outcome.startswith("MemoryError")
    assert outcome_of(target, b"1", tmp_path / "here")[0] in (READ, REFUSED)
