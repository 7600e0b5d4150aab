"""From a member's logits to the means over members, beside other ways: processor time per logit, in one run.

    python -m benchmarks.member_statistics [-channels 4 15] [-shape 128] [-repeats 7] [--markdown FILE]

Logits are float16, as nnU-Net returns them. "ours" adds a later member to running means, in one pass: with the mean alone, as
most methods need it, and with entropy and energy. "torch's operations" are the same statistics operation by operation, as on
other devices. The softmaxes compute probabilities alone, and keep no mean. The slow obvious way is numpy in double precision.
All take turns, on one thread, so that none waits for another; processor seconds, medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.special import softmax

from benchmarks import machine, report
from nnactive_ext.loop.tables import table
from nnactive_ext.members import statistics as members
from nnactive_ext.members.statistics import RunningStatistics
from nnactive_ext.query_methods.base import EVERYTHING

BEGIN, END = "<!-- benchmarks.member_statistics: begin -->", "<!-- benchmarks.member_statistics: end -->"
OURS, SOFTMAX, GOAL = "ours: mean, entropy, energy", "torch.softmax in single precision", 0.6
CPU_BLOCK = 1 << 19
"""Logits a block, with which torch's operations on a CPU are fastest."""


def logits_of(channels: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """Logits of a network that is mostly sure of the background."""
    drawn = np.random.default_rng(0).standard_normal((channels, *shape), dtype=np.float32) * 4
    drawn[0] += 8
    return torch.from_numpy(drawn).half()


def slow(logits: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, entropy and energy in double precision, by their formulas."""
    x = logits.double().numpy()
    e = np.exp(x - x.max(0))
    p = e / e.sum(0)
    entropy = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(0)
    return p, entropy, -(np.log(e.sum(0)) + x.max(0))


def begun(logits: torch.Tensor, needs: frozenset[str]) -> RunningStatistics:
    """Statistics of one member, to which others are added: memory that is used for the first time is slow."""
    running = RunningStatistics(needs=needs)
    running.add(logits)
    return running


def by_torch(running: RunningStatistics, logits: torch.Tensor) -> None:
    with mock.patch.object(members, "_on_host", return_value=False), mock.patch.object(members, "_BLOCK_DEVICE", CPU_BLOCK):
        running.add(logits)


def contenders(logits: torch.Tensor) -> dict[str, Callable[[], object]]:
    mean, whole, other = begun(logits, frozenset()), begun(logits, EVERYTHING), begun(logits, EVERYTHING)
    return {
        "ours: mean": lambda: mean.add(logits),
        OURS: lambda: whole.add(logits),
        "torch's operations: mean, entropy, energy": lambda: by_torch(other, logits),
        SOFTMAX: lambda: torch.softmax(logits.float(), 0),
        "torch.softmax in half precision": lambda: torch.softmax(logits, 0),
        "scipy.special.softmax in single precision": lambda: softmax(logits.numpy().astype(np.float32), axis=0),
        "slow obvious way: mean, entropy, energy": lambda: slow(logits),
    }


def measure(channels: int, shape: tuple[int, int, int], repeats: int) -> dict[str, float]:
    """ns of processor time per logit; an error where ours is not what the slow way finds."""
    logits = logits_of(channels, shape)
    check = begun(logits, EVERYTHING).result()
    for found, exact in zip((check.mean, check.expected_entropy, check.energy), slow(logits), strict=True):
        np.testing.assert_allclose(found, exact, rtol=2e-6, atol=2e-6)
    found = contenders(logits)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(repeats + 1):
        for name, call in found.items():
            begin = time.process_time()
            call()
            seconds[name] += [time.process_time() - begin] if turn else []  # the first turn warms things up
    return {name: statistics.median(spent) / logits.numel() * 1e9 for name, spent in seconds.items()}


def lines(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A head and a line for each way."""
    found = [["way", *(f"{row['channels']} channels, ns a logit" for row in rows), *("of softmax" for _ in rows)]]
    for name in rows[0]["ns"]:
        times = [row["ns"][name] for row in rows]
        shares = [value / row["ns"][SOFTMAX] for value, row in zip(times, rows, strict=True)]
        found.append([name, *(f"{value:.2f}" for value in times), *(f"{share:.2f}" for share in shares)])
    return found


def markdown(answer: dict[str, Any]) -> str:
    """The table, where it was measured, and whether the goal is met."""
    head, *rows = lines(answer["rows"])
    met = all(row["ns"][OURS] <= GOAL * row["ns"][SOFTMAX] for row in answer["rows"])
    where = answer["machine"]
    return (
        f"{report.as_table(head, rows)}\n\n`{answer['command']}`, {answer['date'][:10]}, commit {answer['commit']}, "
        f"{where['cores']} cores of {where['cpu']}. "
        f"Goal, at most {GOAL} of {SOFTMAX}: {'met' if met else 'not met'}.\n"
    )


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.member_statistics", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-channels", type=int, nargs="+", default=[4, 15], metavar="C", help="(default: %(default)s)")
    parser.add_argument("-shape", type=int, default=128, metavar="N", help="cube of so many voxels (default: %(default)s)")
    parser.add_argument("-repeats", type=int, default=7, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the table between this benchmark's markers")
    options = parser.parse_args(args)
    if options.markdown:
        report.check_markers(options.markdown, (BEGIN, END))  # before the work, not after
    torch.set_num_threads(1)
    shape = (options.shape,) * 3
    rows = [{"channels": channels, "ns": measure(channels, shape, options.repeats)} for channels in options.channels]
    answer = {**machine.description(), "command": machine.command("member_statistics", args), "rows": rows}
    print(table(lines(rows), numbers=True))
    if options.json:
        options.json.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        report.insert(options.markdown, markdown(answer), (BEGIN, END))


if __name__ == "__main__":
    main()
