"""From members' logits to the candidates of a case, as a query computes them, beside the published algorithm.

    python -m benchmarks.from_logits [--quick] [--markdown docs/benchmarks/engine.md]

Both begin with the float16 logits of five members, as nnU-Net returns them, and end with the candidates of ClaSP PE. The
published way keeps the probabilities of all members, computes mean and entropy with torch, and then does what
:func:`benchmarks.alternatives.published` says. It also resamples the class maps of each member to the image's own voxels
before; the last row measures what one class map of one member takes there, in nnU-Net's own function.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import alternatives, machine, report
from benchmarks.inputs import MEMBERS, Inputs, members_logits
from benchmarks.measure import best_of, watched
from nnactive_ext.geometry.patch import Triple

MARKS = ("<!-- benchmarks.from_logits: begin -->", "<!-- benchmarks.from_logits: end -->")
CHANNELS, PATCH, PICKS, BETA = 4, (32, 32, 32), 40, 1.0
IMAGES = {
    "48x56x48": ((48, 56, 48), 1),
    "96-cube": ((96, 96, 96), 1),
    "128-cube": ((128, 128, 128), 1),
    "256-cube": ((256, 256, 256), 8),
}
"""Images, and the stride of the published algorithm, which is 8 where stride 1 would take hours. Ours is always 1."""
QUICK = {"48x56x48": IMAGES["48x56x48"]}
AMOS = ((160, 384, 528), (100, 567, 780)), 15
"""The class maps of an AMOS-like case: voxels (z, y, x) on the network's grid and in the image, and how many there are."""


def ours(logits: Sequence[np.ndarray]) -> Callable[[], object]:
    """What nnactive_query does with the logits, in two steps: means over members, ranking."""
    import torch

    from nnactive_ext.members.statistics import RunningStatistics
    from nnactive_ext.query_methods import methods
    from nnactive_ext.query_methods.base import Request, ScoredCase

    members = [torch.from_numpy(one) for one in logits]
    method = methods.get("clasp_pe", beta=str(BETA), patches_per_case=str(PICKS))
    request = Request(PICKS, {channel: f"class {channel}" for channel in range(1, len(logits[0]))})

    def run() -> object:
        running = RunningStatistics(needs=method.needs)
        for member in members:
            running.add(member)
        return method.rank(ScoredCase("case", running.result(), PATCH), request)

    return run


def as_published(logits: Sequence[np.ndarray], stride: int) -> Callable[[], object]:
    """The published algorithm from its first operation on the logits."""
    import torch

    choose = alternatives.published if stride == 1 else alternatives.published_strided

    def run() -> object:
        every = torch.stack([torch.softmax(torch.from_numpy(one).float(), 0) for one in logits])
        mean = every.mean(0)
        entropy = torch.special.entr(mean).sum(0)
        return choose(Inputs(mean.numpy(), entropy.numpy()), PATCH, PICKS, BETA, 0)

    return run


def measure(shape: Triple, stride: int, repeats: int) -> dict[str, Any]:
    """Seconds on the clock and peak bytes of both ways; ours is the best of ``repeats``, the published one runs once."""
    logits = members_logits(shape, CHANNELS, 0)
    own = ours(logits)
    own()  # compiles
    _, _, peak = watched(own)
    seconds, _ = best_of(own, repeats, 60)
    _, published, published_peak = watched(as_published(logits, stride))
    return {"seconds": seconds, "peak": peak, "published": published, "published_peak": published_peak, "stride": stride}


def resampling() -> float:
    """Processor seconds of nnU-Net's own function for one class map of one member."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    (before, after), _ = AMOS
    spacing = [float(b) / a for b, a in zip(before, after, strict=True)]
    maps = np.random.default_rng(0).random((1, *before), dtype=np.float32)
    begin = time.process_time()
    resample_data_or_seg_to_shape(maps, after, [1.0] * 3, spacing, is_seg=False, order=1, order_z=0, force_separate_z=None)
    return time.process_time() - begin


def markdown(answer: dict[str, Any]) -> str:
    """Where it was measured, a line for each image, the resampling."""
    where = answer["machine"]
    lines = [
        f"`{answer['command']}`, {answer['date'][:10]}, commit {answer['commit']}. {where['cores']} cores of {where['cpu']}; "
        f"{MEMBERS} members, {CHANNELS} channels, patches of 32x32x32 voxels, {PICKS} candidates in each stratum.",
        "",
        "| image | ours, stride 1 | its peak | as published | its stride | its peak | times faster |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for image, row in answer["rows"].items():
        peaks = [f"{row[key] / 1e6:,.0f} MB" if row[key] is not None else "–" for key in ("peak", "published_peak")]
        cells = [image, f"{1000 * row['seconds']:,.0f} ms", peaks[0], f"{row['published']:.2f} s", str(row["stride"]), peaks[1]]
        lines.append("| " + " | ".join([*cells, f"{row['published'] / row['seconds']:.0f}"]) + " |")
    if answer["resampling"] is not None:
        (before, after), channels = AMOS
        sizes = " to ".join("x".join(map(str, shape)) for shape in (before, after))
        every = answer["resampling"] * channels * MEMBERS
        lines += [
            "",
            f"Resampling one class map of one member from {sizes} voxels takes {answer['resampling']:.1f} processor seconds; "
            f"{channels} maps of {MEMBERS} members take {every:,.0f} at that rate. Scoring on the network's grid omits it.",
        ]
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.from_logits", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only the smallest image, and no resampling")
    parser.add_argument("-repeats", type=int, default=5, metavar="N", help="runs of ours (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    options = parser.parse_args(args)
    if options.markdown:
        report.check_markers(options.markdown, MARKS)  # before the work, not after
    command = machine.command("from_logits", args)
    images = QUICK if options.quick else IMAGES
    rows = {image: measure(shape, stride, options.repeats) for image, (shape, stride) in images.items()}
    answer = {**machine.description(), "command": command, "rows": rows, "resampling": None if options.quick else resampling()}
    report.publish(options, answer, markdown(answer), MARKS)


if __name__ == "__main__":
    main()
