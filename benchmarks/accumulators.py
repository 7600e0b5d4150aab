"""What half-precision accumulators cost in accuracy: mean p, its entropy, and means of that over query patches.

    python -m benchmarks.accumulators [--json FILE]

against the same sums in double precision, on smooth made-up logits in half, as nnU-Net returns them: broad regions in
which the members agree (probabilities down to 1e-8) and borders at which they do not.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import entr

from nnactive_ext.loop.tables import table
from nnactive_ext.members.statistics import ACCUMULATORS, RunningStatistics

SHAPE = (96, 96, 96)
BOX = 32
CHANNELS = (4, 16)
MEMBERS = (5, 10)


def members_logits(channels: int, members: int, seed: int = 0) -> list[np.ndarray]:
    """Each member's logits (channel, z, y, x), float16: a common part with broad regions, and a part of its own."""
    rng = np.random.default_rng(seed)

    def smooth(sigma: float) -> np.ndarray:
        field = gaussian_filter(rng.standard_normal((channels, *SHAPE), dtype=np.float32), (0, *[sigma] * 3), mode="wrap")
        return field / field.std()

    common = 6 * smooth(8)
    return [(common + smooth(4)).astype(np.float16) for _ in range(members)]


def exact(logits: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the members' softmax and its entropy in nat, float64."""
    mean = np.zeros(logits[0].shape)
    for member in logits:
        e = np.exp(member.astype(np.float64) - member.max(0))
        mean += e / e.sum(0)
    mean /= len(logits)
    return mean, entr(mean).sum(0)


def streamed(logits: list[np.ndarray], accumulators: str) -> tuple[np.ndarray, np.ndarray]:
    """The same from :class:`RunningStatistics`, with the entropy in float32 as the query methods compute it."""
    running = RunningStatistics(accumulators=accumulators)
    for member in logits:
        running.add(torch.from_numpy(member))
    mean = running.result().mean
    entropy = np.zeros(SHAPE, dtype=np.float32)
    for channel in mean:
        entropy += entr(channel.astype(np.float32))
    return mean, entropy


def box_means(values: np.ndarray) -> np.ndarray:
    for axis in range(3):
        sums = np.cumsum(values, axis, dtype=np.float64)
        low = np.concatenate([np.zeros_like(sums.take([0], axis)), sums.take(range(values.shape[axis] - BOX), axis)], axis)
        values = (sums.take(range(BOX - 1, values.shape[axis]), axis) - low) / BOX
    return values


def measure() -> list[dict[str, Any]]:
    """One row for each number of channels and members and each kind of accumulators: largest and mean absolute errors."""
    rows = []
    for channels in CHANNELS:
        for members in MEMBERS:
            logits = members_logits(channels, members)
            mean, entropy = exact(logits)
            for accumulators in ACCUMULATORS:
                streamed_mean, streamed_entropy = streamed(logits, accumulators)
                errors = {
                    "p": np.abs(streamed_mean - mean),
                    "entropy": np.abs(streamed_entropy - entropy),
                    "box": np.abs(box_means(streamed_entropy - entropy)),
                }
                row: dict[str, Any] = {"channels": channels, "members": members, "accumulators": accumulators}
                for name, error in errors.items():
                    row |= {f"{name}_max": float(error.max()), f"{name}_mean": float(error.mean())}
                row |= {"p_smallest": float(mean.min()), "entropy_of_all": float(entropy.mean())}
                rows.append(row)
    return rows


def report(rows: list[dict[str, Any]]) -> str:
    values = [key for key in rows[0] if key.endswith(("_max", "_mean"))]
    heading = ["channels", "members", "accumulators", *(key.replace("_", " ") for key in values)]
    lines = [[str(row[key]) for key in ("channels", "members", "accumulators")] for row in rows]
    for line, row in zip(lines, rows, strict=True):
        line += [f"{row[key]:.1e}" for key in values]
    title = f"Absolute errors on {'x'.join(map(str, SHAPE))} voxels; entropy in nat; box: means of it over {BOX}-cubes"
    return f"{title}\n\n{table([heading, *lines], numbers=True, width=200)}"


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Accuracy of single and half accumulators against double precision.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args(args)
    rows = measure()
    print(report(rows))
    if options.json:
        options.json.write_text(json.dumps({"shape": SHAPE, "box": BOX, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
