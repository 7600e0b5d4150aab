"""Every query method with real nnU-Net, as a person types it: `nnactive_plan`, then `nnactive_run`, two cycles each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from folders import set_folders

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json
from nnactive_ext.query_methods import methods

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.name == "nt", reason="the commands are typed into sh")]
BIN = Path(sys.executable).parent
PLAN = "-patch_size 8 16 16 -query_size 4 -cycles 2 -folds 2 --preset cpu -tr nnActiveTrainer_1epochs_NoMirroring -np 1"
# The shortest there is: two iterations of one epoch, no worker processes.
QUICK = {"nnactive_iterations_per_epoch": "2", "nnactive_val_iterations_per_epoch": "1", "nnUNet_n_proc_DA": "0"}


def typed(line: str) -> None:
    environment = {**os.environ, **QUICK, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"


@pytest.fixture(scope="module")
def experiment_of(tmp_path_factory):
    """The finished experiment of a method; all are planned from one phantom and start from the patches of the first."""
    with pytest.MonkeyPatch.context() as patch:
        set_folders(patch, tmp_path_factory.mktemp("methods"))
        typed("nnactive_phantom -d 900 -n 6")
        numbers: dict[str, int] = {}

        def finished(line: str) -> Experiment:
            if line not in numbers:
                start = "".join(
                    f" -start_from {Experiment.find(number).raw}/loop_000.json" for number in [*numbers.values()][:1]
                )
                number = 901 + len(numbers)
                typed(f"nnactive_plan -d 900 -o {number} {PLAN}{start} --method {line} --disable_progress_bar")
                typed(f"nnactive_run -d {number} -device cpu --disable_progress_bar")
                numbers[line] = number
            return Experiment.find(numbers[line])

        yield finished


@pytest.mark.parametrize("name", methods.names())
def test_it_runs(experiment_of, name):
    line = name
    if name == "precomputed":
        line += f" source={experiment_of('random').name}"
    experiment = experiment_of(line)
    loop = read_json(experiment.raw / "loop_001.json")
    assert (loop["method"], len(loop["patches"]), loop["missing"]) == (name, 4, 0)
    results = [read_json(experiment.results / f"cycle_00{cycle}.json") for cycle in range(2)]
    assert [result["patches"] for result in results] == [4, 8]
    if name == "precomputed":
        earlier = read_json(experiment_of("random").raw / "loop_001.json")
        assert [p["coords"] for p in loop["patches"]] == [p["coords"] for p in earlier["patches"]]
