"""`make demo`: a whole small experiment on synthetic CTs, on the CPU, in a folder of its own; simulated or with a person."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path

from nnactive_ext.cli import annotate, phantom, plan, report, run
from nnactive_ext.cli.command import command
from nnactive_ext.nnunet.environment import FOLDERS

FOLDER = Path("demo_data")
_SOURCE, _SIMULATION, _ROLLOUT = 900, 901, 902
"""Numbers of the datasets: the images, the simulation, the roll-out."""
# Images, patches and trainings were chosen with one aim, that every class is learned; never by how one query method does beside
# another. Seeds 0, 1 and 2 ended with the lesion at Dice 73, 75 and 84 %, and never had it below 51; 8 epochs ended once at 19.
_IMAGES = f"nnactive_phantom -d {_SOURCE} -n 16 -lesions 2"
_SETTINGS = (
    "-patch_size 10 24 24 -cycles 3 -members mirror -folds 1 -tr nnActiveTrainer_12epochs --preset cpu --disable_progress_bar"
)
_TUNED = (
    "Images and trainings of this demo were chosen with one aim, that every class is learned. It shows how an experiment goes, "
    "and not whether one query method is better than another."
)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_demo",
        description="Runs a whole small experiment on synthetic CTs (organ, vessel, lesion) without a GPU, in demo_data of the "
        f"current folder, and writes its report. {_TUNED}",
    )
    made.add_argument(
        "--rollout",
        action="store_true",
        help="you annotate in the browser, instead of a simulation that copies the labels; run it again to continue",
    )
    made.add_argument(
        "-seed", type=int, default=0, metavar="SEED", help="seed of the images; each seed gives others (default: %(default)s)"
    )
    return made


@command(parser, folders=False)
def main(options: argparse.Namespace) -> None:
    if options.rollout:
        _rollout(options.seed)
    else:
        _simulation(options.seed)


def _simulation(seed: int) -> None:
    """From images to the report without a person; what an earlier simulation left is replaced."""
    folder = FOLDER / "simulation"
    shutil.rmtree(folder, ignore_errors=True)
    _enter(folder)
    _call(phantom.main, f"{_IMAGES} --seed {seed}")
    _call(
        plan.main,
        f"nnactive_plan -d {_SOURCE} -o {_SIMULATION} -name PhantomDemo -start random_fg_66 -starting_budget 32 "
        f"-query_size 24 {_SETTINGS}",
    )
    _call(run.main, f"nnactive_run -d {_SIMULATION} -device cpu --disable_progress_bar")
    _report(_SIMULATION, folder)


def _rollout(seed: int) -> None:
    """Plan, then serve the annotation page until Ctrl-C; what is there already is continued."""
    folder = FOLDER / "rollout"
    _enter(folder)
    planned = any((folder / "nnUNet_raw").glob(f"Dataset{_ROLLOUT}_*/nnactive_plan.json"))
    if not planned:
        shutil.rmtree(folder)  # of a demo that was interrupted while it planned
        _enter(folder)
        _call(phantom.main, f"{_IMAGES} --seed {seed}")
        # The time of a training is given, because timing one here would take a while.
        _call(
            plan.main,
            f"nnactive_plan -i {folder}/nnUNet_raw/Dataset{_SOURCE}_Phantom/imagesTr -o {_ROLLOUT} -name PhantomRollout "
            f"--labels organ vessel lesion -starting_budget 8 -query_size 8 -training_hours 0.03 {_SETTINGS}",
        )
    print(
        "\nThe page shows the first patches. Label organ, vessel and lesion (a darker spot in the organ), then press Train "
        "now. Press Ctrl-C here to end; run the same command again to continue."
    )
    _call(annotate.main, f"nnactive_annotate serve -d {_ROLLOUT} -who me" + ("" if on_screen() else " --no_browser"))
    if any((folder / "nnUNet_results").glob(f"Dataset{_ROLLOUT}_*/nnactive/cycle_*.json")):
        _report(_ROLLOUT, folder)


def _enter(folder: Path) -> None:
    """Make nnU-Net's three folders in a folder, and let all commands use them."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str((folder / name).resolve())


def _report(number: int, folder: Path) -> None:
    """Write the report, say where it is, and open it where there is a screen."""
    file = folder / "report.html"
    _call(report.main, f"nnactive_report -d {number} -o {file} -device cpu -patches 4 --disable_progress_bar")
    print(f"\n{_TUNED}\nThe report: {file.resolve()}")
    if on_screen():
        webbrowser.open(file.resolve().as_uri())


def on_screen() -> bool:
    """Whether a person sits before this machine's screen, so that a page can be opened: the output is a terminal, there is a
    display, and no CI system runs this."""
    if os.environ.get("CI") or not sys.stdout.isatty():
        return False
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _call(call: Callable[[list[str]], None], line: str) -> None:
    print(f"\n$ {line}", flush=True)
    call(line.split()[1:])


if __name__ == "__main__":
    main()
