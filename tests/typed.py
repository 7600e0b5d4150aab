"""Commands of a test as a person types them, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

BIN = Path(sys.executable).parent
QUICK = {
    "nnactive_iterations_per_epoch": "2",
    "nnactive_val_iterations_per_epoch": "1",
    "nnUNet_n_proc_DA": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def started(line: str, log: Path, environment: Mapping[str, str] = QUICK) -> subprocess.Popen:
    """Type ``line`` into sh; its output is added to ``log``. The ``environment`` comes on top of the test's own."""
    environment = {**os.environ, **environment, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    with open(log, "a") as output:
        return subprocess.Popen(["sh", "-c", f"exec {line}"], env=environment, stdout=output, stderr=subprocess.STDOUT)
