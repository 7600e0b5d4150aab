"""nnactive_run with members that cost nothing, whose steps are processes as in earnest: ``python fake_driver.py OPTIONS``.

Each training is a process that its step starts, takes ``FAKE_SECONDS`` and holds the lock of its fold meanwhile.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parent))

FILE = str(Path(__file__))


def train_here(folder: str, preprocessed: str) -> None:
    """As nnU-Net's trainer does: mark, train, mark."""
    from nnactive_ext.experiment import marks
    from nnactive_ext.members.training_process import end_with_parent

    end_with_parent()
    marks.uuid.uuid4 = lambda: UUID(int=7)
    Path(folder).mkdir(parents=True, exist_ok=True)
    lock = marks.begin(folder, preprocessed, continued=False)
    time.sleep(float(os.environ.get("FAKE_SECONDS", "1")))
    (Path(folder) / "checkpoint_final.pth").write_bytes(b"a member")
    marks.finish(folder)
    lock.release()


def train(experiment, fold):
    from nnactive_ext.errors import ChildKilled, NnActiveError
    from nnactive_ext.experiment.archive import put_away
    from nnactive_ext.members.ensemble import fold_folder
    from nnactive_ext.members.training import _run

    folder = fold_folder(experiment, fold)
    put_away(experiment, folder)
    log = experiment.results / f"cycle_{experiment.state['cycle']:03d}" / f"train_fold_{fold}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = ["train", str(folder), str(experiment.preprocessed.folder)]
    if status := _run([sys.executable, FILE, *words], dict(os.environ), log):
        raise (ChildKilled if status == -9 else NnActiveError)(f"the training failed with status {status}")


def main(arguments: list[str]) -> None:
    if arguments[0] == "train":
        train_here(*arguments[1:])
        return
    from fake_members import fake_tools

    import nnactive_ext.cli.run as run_command
    from nnactive_ext.cluster import dask_runner
    from nnactive_ext.members.tools import Tools

    made = fake_tools()
    Tools.of_nnunet = classmethod(lambda cls, device, prepare=None: Tools(train, made.open_ensemble))
    run_command.prepare = lambda device: None
    dask_runner.SHARES = 1  # each step is a process that imports torch
    real = dask_runner.OnWorkers

    def on_workers(client, workers, words, *others):
        return real(client, workers, lambda step: [FILE, *words(step)[2:]], *others)

    dask_runner.OnWorkers = on_workers
    run_command.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
