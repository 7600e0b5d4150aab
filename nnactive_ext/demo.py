"""`make demo`: a whole small experiment on a phantom dataset, on the CPU, in a folder of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nnactive_ext.cli import phantom, plan, run

FOLDER = Path("demo_data")


def main() -> None:
    """Run anew in ``demo_data`` of the current folder, which is replaced."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(FOLDER.resolve() / name)
        (FOLDER / name).mkdir(parents=True)
    _call(phantom.main, "nnactive_phantom -d 900 -n 24")
    _call(
        plan.main,
        "nnactive_plan -d 900 -o 901 -name PhantomDemo -patch_size 10 24 24 -starting_budget 8 -query_size 28 -cycles 3 "
        "-folds 2 -tr nnActiveTrainer_5epochs_NoMirroring --preset cpu --disable_progress_bar",
    )
    _call(run.main, "nnactive_run -d 901 -device cpu --disable_progress_bar")


def _call(command, line: str) -> None:
    print(f"\n$ {line}", flush=True)
    command(line.split()[1:])


if __name__ == "__main__":
    main()
