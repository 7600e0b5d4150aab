"""Measures the pages of `nnactive_annotate serve` in Chromium: 500 tasks on synthetic CTs of a usual size, and one large CT.

    python -m benchmarks.browser [--folder FOLDER] [--json FILE]

The tests' packages are needed (Playwright and Chromium), and Linux, whose /proc says what memory a process has.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.browser_server import Watched, running
from benchmarks.machine import description

NUMBER = 601
SHAPE, LARGE = (150, 256, 256), (800, 512, 512)
"""Voxels (z, y, x) of the CTs."""
PATCH = (16, 40, 40)
GOALS = {
    "queue": ("the queue opens, s", 1.0),
    "new": ("a task can be painted, its crop was not made, s", 2.0),
    "made": ("a task can be painted, its crop was made, s", 2.0),
    "large": ("the same in the large CT, crop not made, s", 2.0),
    "answer": ("Done until the answer is saved, s", 2.0),
}
CHROMIUM = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def write_images(folder: Path, cases: int) -> None:
    """CTs as hospitals have them: ``cases`` of :data:`SHAPE` and one of :data:`LARGE`, int16."""
    from scipy import ndimage

    from nnactive_ext.geometry.space import Space
    from nnactive_ext.images.writing import write_image
    from nnactive_ext.phantom import phantom

    folder.mkdir()
    for number in range(cases + 1):
        shape = SHAPE if number < cases else LARGE
        small = phantom(0, f"ct_{number}").image
        image = ndimage.zoom(small, [n / m for n, m in zip(shape, small.shape, strict=True)], order=1, output=np.int16)
        space = Space(image.shape, (0.8, 0.8, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
        write_image(folder / f"ct_{number}.nii.gz", space.image(image))


def plan(images: Path, tasks: int, cases: int) -> None:
    """A roll-out on ``images`` whose first cycle has ``tasks`` patches, the last 20 of them in the large CT."""
    from nnactive_ext.cli import plan
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.experiment.loops import entry, loop_file, write_loop
    from nnactive_ext.files import read_json
    from nnactive_ext.geometry.patch import Patch, triple

    size = " ".join(map(str, reversed(PATCH)))
    options = f"--labels organ lesion -patch_size {size} -starting_budget 6 -query_size 4 -cycles 3 -folds 2 --preset cpu -np 1"
    more = ["-training_hours", "1", "--disable_progress_bar"]
    plan.main(["-i", str(images), "-o", str(NUMBER), "-name", "Browser", *options.split(), *more])
    experiment, rng = Experiment.find(NUMBER), np.random.default_rng(0)
    entries = []
    for number in range(tasks):
        case = f"ct_{cases if number >= tasks - 20 else number % cases}"
        start = triple([int(rng.integers(n - p)) for n, p in zip(experiment.plan.pool[case].shape, PATCH, strict=True)])
        entries.append(entry(Patch(case, start, PATCH), experiment.dataset.file_ending, stratum="organ", method="benchmark"))
    file = loop_file(experiment.raw, 0)
    write_loop(file, entries, {key: value for key, value in read_json(file).items() if key != "patches"})


def seconds_to(page: Any, address: str, ready: str) -> float:
    """From asking for an address until ``ready`` holds in its page and the browser has drawn it."""
    begin = time.perf_counter()
    page.goto(address, wait_until="commit")
    while not page.evaluate(ready):
        assert time.perf_counter() - begin < 900, page.inner_text("body")[:500]
        page.wait_for_timeout(10)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return time.perf_counter() - begin


READY = "document.body?.dataset.ready === 'yes'"
LISTED = "document.readyState === 'complete' && document.querySelectorAll('[data-task]').length > 0"


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=list(CHROMIUM))
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


def measure(page: Any, entry_address: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of each kind of :data:`GOALS`."""
    found: dict[str, list[float]] = {kind: [] for kind in GOALS}
    page.goto(entry_address)
    page.wait_for_timeout(1000)
    root = entry_address.split("?")[0]
    for _ in range(repeats):
        found["queue"].append(seconds_to(page, root, LISTED))
    tasks = page.evaluate("[...document.querySelectorAll('[data-task]')].map(row => row.dataset.task)")
    step = (len(tasks) - 20) // repeats  # far apart, because the next two are made ahead
    for kind, chosen in (("new", tasks[: step * repeats : step]), ("large", tasks[-20::10])):
        for task in chosen:
            found[kind].append(seconds_to(page, f"{root}tasks/{task}", READY))
            page.wait_for_timeout(8000 if kind == "large" else 3000)  # while the next ones are made
    for task in tasks[: step * repeats : step]:
        found["made"].append(seconds_to(page, f"{root}tasks/{task}", READY))
        begin = time.perf_counter()
        page.locator("button[data-do=done]").click()
        while not page.evaluate("document.getElementById('said').textContent.startsWith('Saved')"):
            assert time.perf_counter() - begin < 60, page.inner_text("#said")
            page.wait_for_timeout(10)
        found["answer"].append(time.perf_counter() - begin)
    for _ in range(repeats):
        found["queue"].append(seconds_to(page, root, LISTED))
    return found


def markdown(answer: dict[str, Any]) -> str:
    machine, (before, after) = answer["machine"], answer["load"]
    shapes = [" x ".join(map(str, shape)) for shape in (SHAPE, LARGE, PATCH)]
    lines = [
        f"{answer['date'][:10]}, commit {answer['commit'] or 'unknown'}, {machine['cores']} cores of {machine['cpu']}, no "
        f"graphics card, load average {before:.1f} before and {after:.1f} after. {answer['tasks']} tasks in "
        f"{answer['cases']} CTs of {shapes[0]} voxels and one of {shapes[1]} (int16), patches of {shapes[2]}.",
        "",
        "| measured | median | slowest | goal | times |",
        "|" + " --- |" * 5,
    ]
    for kind, (name, goal) in GOALS.items():
        seconds = answer["seconds"][kind]
        lines.append(f"| {name} | {statistics.median(seconds):.2f} | {max(seconds):.2f} | < {goal:g} | {len(seconds)} |")
    memory, children = answer["memory"], answer["children"]
    lines.append(f"| memory of the server process, most, MB | {memory['most']:.0f} | | < 500 | |")
    lines.append(f"| memory of the server process at the start, MB | {memory['first']:.0f} | | | |")
    lines.append(f"| memory of a child, most, MB | {children['memory']:.0f} | | | {children['seen']} |")
    lines.append(f"| children at a time, most | {children['most']} | | 1 | |")
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.browser", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep nnU-Net's folders here, and use those that are there (default: none)")
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    options = parser.parse_args(args)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(exist_ok=True)
        for name in ("raw", "preprocessed", "results"):
            (folder / name).mkdir(exist_ok=True)
            os.environ[f"nnUNet_{name}"] = str(folder / name)
        if not (folder / "images").exists():
            write_images(folder / "images", options.cases)
            plan(folder / "images", options.tasks, options.cases)
        for left in (folder / "raw").glob("*/annotation"):  # crops and answers of a run before
            shutil.rmtree(left)
        load = [os.getloadavg()[0]]
        with running(NUMBER) as (address, server), Watched(server) as watched, chromium() as page:
            seconds = measure(page, address, options.repeats)
        facts = {"tasks": options.tasks, "cases": options.cases, "seconds": seconds, "load": [*load, os.getloadavg()[0]]}
        answer = {**description(), **facts, "memory": watched.memory, "children": watched.children}
    print(markdown(answer))
    if options.json:
        options.json.write_text(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
