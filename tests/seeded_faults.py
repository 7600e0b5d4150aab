"""Seeds 50 faults into a copy of the package, one at a time, and says which of them the tests catch.

    python tests/seeded_faults.py                  # all, with the tests of this checkout
    python tests/seeded_faults.py --only 3 17      # some
    python tests/seeded_faults.py --old ../before  # the same faults in another checkout, with its own tests

Each fault is a sign, a bound, a class index or an axis. Run it by hand after tests were cut: a fault that survives shows a
promise that nobody checks any more. It exits with 1 if one survives. The heavy libraries are imported once; each fault is
then tried in a process forked from there. Needs POSIX and an environment with the test dependencies.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = {"nnactive_ext": "nnactive_ext", "trainers": "nnactive_ext/trainers", "query_methods": "nnactive_ext/query_methods"}
"""Folder of a checkout -> its place in the package."""

# ruff: noqa: E501
FAULTS: list[tuple[str, str, str, str]] = [
    # file below nnactive_ext/, what stands there, the fault, the test files that should fail (without test_ and .py)
    ("geometry/patch.py", "a < d and c < b", "a <= d and c < b", "patch"),
    ("geometry/patch.py", "0 <= a < b <= n for", "0 <= a < b < n for", "patch"),
    ("geometry/patch.py", "int(c) - s // 2, 0), n - s)", "int(c) - s // 2, 0), n)", "patch random_patches"),
    ("geometry/patch.py", "slice(a - s, b - s)", "slice(a + s, b + s)", "patch box_round_trip"),
    ("geometry/grid.py", "math.floor(low + _EPSILON)", "math.ceil(low - _EPSILON)", "grid"),
    ("geometry/grid.py", "patch.start[source] - self.crop_start[axis]", "patch.start[source] + self.crop_start[axis]", "grid"),
    ("geometry/grid.py", "image_shape[source] = int(before[axis])", "image_shape[axis] = int(before[axis])", "grid"),
    ("geometry/grid.py", "image_size[source] for source in self.transpose", "n for n in image_size", "grid"),
    ("geometry/space.py", "np.diag([-1.0, -1.0, 1.0, 1.0])", "np.diag([-1.0, 1.0, 1.0, 1.0])", "space"),
    ("geometry/space.py", "np.asarray(index, float)[::-1] + self.origin", "np.asarray(index, float) + self.origin", "space"),
    ("geometry/axes.py", "worst > _TOLERANCE", "worst > 10 * _TOLERANCE", "space axes box_round_trip"),
    ("geometry/space.py", "x, y, z = self.spacing\n        return z, y, x", "x, y, z = self.spacing\n        return x, y, z", "acquisition page_slices rollout"),
    ("geometry/space.py", "np.asarray(position, float) - self.origin", "np.asarray(position, float) + self.origin", "space"),
    ("engine/windows.py", "overlap * voxels + 1e-9), voxels - 1", "overlap * voxels), voxels - 1", "engine occupancy"),
    ("engine/windows.py", "np.append(starts, count - 1)", "np.append(starts, count - 2)", "engine engine_proofs"),
    ("engine/free.py", "slice(max(b - s + 1, 0)", "slice(max(b - s, 0)", "engine engine_proofs"),
    ("engine/taking.py", "start[axis] + extent[axis]:", "start[axis] + extent[axis] - 1:", "engine engine_proofs"),
    ("engine/entropy.py", "p[x] = np.float32(1) - p[x]", "p[x] = np.float32(1) + p[x]", "engine_entropy scores"),
    ("engine/select.py", "beta is not None and lowest < 0", "beta is not None and lowest < -1e9", "engine"),
    ("query_methods/scores.py", "np.minimum(p, 1 - p)", "np.maximum(p, 1 - p)", "scores"),
    ("query_methods/scores.py", "predictive_entropy(statistics) - statistics.expected_entropy", "predictive_entropy(statistics) + statistics.expected_entropy", "scores"),
    ("query_methods/scores.py", "1 - np.abs(2 * p - 1)", "np.abs(2 * p - 1)", "scores"),
    ("query_methods/base.py", "self.mean if self.regions else self.mean[1:]", "self.mean if self.regions else self.mean[2:]", "aggregation scores"),
    ("query_methods/aggregation.py", "width = patch - inner + 1", "width = patch - inner", "aggregation"),
    ("query_methods/aggregation.py", "1 - statistics.foreground_share", "statistics.foreground_share", "aggregation"),
    ("query_methods/perturbation.py", "if cycle >= queries:", "if cycle > queries + 1:", "perturbation"),
    ("query_methods/perturbation.py", "np.arange(1, candidates + 1)", "np.arange(2, candidates + 2)", "perturbation"),
    ("query_methods/stratification.py", "each + (c in lucky)", "each + (c not in lucky)", "stratification"),
    ("query_methods/selection.py", "_fill(useful, shares[c], occupied)", "_fill(useful, shares[c] + 1, occupied)", "stratification methods_contract"),
    ("query_methods/selection.py", "return -candidate.key, candidate.patch", "return candidate.key, candidate.patch", "stratification methods_contract"),
    ("query_methods/uncertainty.py", "case.statistics.mean[c]", "case.statistics.mean[c - 1]", "stratification methods_contract own_methods"),
    ("query_methods/occupancy.py", "covered(patch, touching) > allowed", "covered(patch, touching) >= allowed", "occupancy"),
    ("query_methods/random_patches.py", '["foreground"] * (n - n // 2) + ["border"] * (n // 2)', '["border"] * (n - n // 2) + ["foreground"] * (n // 2)', "random_patches"),
    ("query_methods/random_patches.py", "voxels[inside] & ~binary_erosion", "voxels[inside] & binary_erosion", "random_patches"),
    ("metrics/overlap.py", "either = int(predicted.sum() + true.sum())", "either = int((predicted | true).sum())", "metrics"),
    ("metrics/overlap.py", "counted = reference != ignore", "counted = prediction != ignore", "metrics"),
    ("metrics/averages.py", "(len(known) - 1)", "len(known)", "efficiency trajectory compare_numbers averages published"),
    ("metrics/trajectory.py", "np.diff(x) * (y[1:] + y[:-1]) / 2", "np.diff(x) * y[1:]", "trajectory"),
    ("metrics/pairwise.py", "one[better > 0], other[better > 0]", "other[better > 0], one[better > 0]", "pairwise"),
    ("metrics/ranking.py", "-table if higher_is_better else table", "table if higher_is_better else -table", "ranking"),
    ("engine/member_means.py", "np.float32(1 / number)", "np.float32(1 / (number + 1))", "statistics"),
    ("engine/member_means.py", "-(logarithm[x] + highest[x])", "-(logarithm[x] - highest[x])", "statistics"),
    ("nnunet/splits.py", "(with_class[fold], cases[fold], fold)", "(-with_class[fold], cases[fold], fold)", "splits"),
    ("nnunet/sampling.py", "size[d] // 2 - final_size[d] // 2", "(size[d] - final_size[d]) // 2", "sampling"),
    ("nnunet/sampling.py", "self.ignore_label if self.has_ignore else -1", "0", "sampling"),
    ("nnunet/partial_loss.py", "dice.smooth = 0.0", "dice.smooth = 1e-5", "partial_loss"),
    ("labelling/labels.py", "if v != ignore}", "if v}", "label_files loops experiment changes cycles"),
    ("labelling/answers.py", "both = (result != ignore) & (other != ignore)", "both = (result != ignore) | (other != ignore)", "answers"),
    ("exchange/boxed.py", "ignore if returned.whole else 0", "0 if returned.whole else ignore", "box_round_trip"),
    ("planning/sizes.py", "math.prod(n // s for n, s", "math.prod(-(-n // s) for n, s", "starting_budget cycles rollout_plan_errors errors"),
]  # fmt: skip

HEAVY = """
    numpy scipy.stats scipy.ndimage scipy.optimize torch numba SimpleITK nibabel blosc2 pytest hypothesis matplotlib
    nnunetv2.imageio.reader_writer_registry nnunetv2.preprocessing.cropping.cropping
    nnunetv2.training.dataloading.nnunet_dataset nnunetv2.utilities.plans_handling.plans_handler
    nnunetv2.training.nnUNetTrainer.nnUNetTrainer
""".split()


def lay_out(checkout: Path, folder: Path) -> Path:
    """A copy of the checkout below ``folder``, its package laid out as an installed wheel; the package's folder."""
    installed = folder / "site-packages"
    ignored = shutil.ignore_patterns("__pycache__")
    for source, place in PACKAGE.items():
        shutil.copytree(checkout / source, installed / place, ignore=ignored)
    for name in ("tests", "benchmarks", "docs"):
        shutil.copytree(checkout / name, folder / name, ignore=ignored)
    for name in ("conftest.py", "pyproject.toml", "README.md"):
        shutil.copy(checkout / name, folder)
    return installed / "nnactive_ext"


def find(package: Path, name: str, snippet: str) -> Path | None:
    """The file that holds ``snippet``: ``name``, else the only one with it, or with its file name too (files moved)."""
    file = package / name
    if file.is_file() and snippet in file.read_text():
        return file
    others = [file for file in package.rglob("*.py") if snippet in file.read_text()]
    others = [file for file in others if file.name == Path(name).name] or others
    return others[0] if len(others) == 1 else None


def run_tests(folder: Path, tests: list[str], cache: Path, log: Path) -> bool:
    """Whether the tests pass, in a forked process."""
    child = os.fork()
    if child == 0:
        status = 3
        try:
            with open(log, "w") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                signal.alarm(900)  # a fault may make a loop endless
                os.chdir(folder)
                os.environ["NUMBA_CACHE_DIR"] = str(cache)
                numba = importlib.import_module("numba")
                numba.config.reload_config()
                sys.path.insert(0, str(folder / "site-packages"))
                # Processes that tests start must see the copy too.
                os.environ["PYTHONPATH"] = str(folder / "site-packages")
                import pytest
                from hypothesis import Phase, settings

                # A fault needs to be seen, not shrunk to its smallest example, which takes minutes.
                phases = [Phase.explicit, Phase.generate]
                settings.register_profile("faults", max_examples=30, deadline=None, database=None, phases=phases)
                status = int(
                    pytest.main(["-x", "-q", "--hypothesis-profile=faults", "-p", "no:cacheprovider", "-p", "no:xdist", *tests])
                )
                sys.stdout.flush()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, 1):
        # pytest's 2 is an error while tests are collected, as a fault may cause it too.
        print(f"    (pytest ended with {status}, see {log})")
    return status == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path, default=ROOT, help="a checkout other than this one")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of faults, from 1")
    parser.add_argument("--unproven", action="store_true", help="do not run the tests without a fault first")
    parser.add_argument("--keep", type=Path, help="keep the logs in this folder")
    arguments = parser.parse_args()
    for name in HEAVY:
        importlib.import_module(name)
    survivors = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkout"
        package = lay_out(arguments.old.resolve(), folder)
        logs = arguments.keep or Path(temporary)
        logs.mkdir(parents=True, exist_ok=True)
        numbers = arguments.only or range(1, len(FAULTS) + 1)
        names = sorted({test for number in numbers for test in FAULTS[number - 1][3].split()})
        everything = [f"tests/test_{test}.py" for test in names if (folder / "tests" / f"test_{test}.py").is_file()]
        if not arguments.unproven and not run_tests(folder, everything, Path(temporary) / "cache", logs / "whole.log"):
            print((logs / "whole.log").read_text()[-3000:])
            print("The tests fail without a fault, so that they would prove nothing.")
            return 2
        for number in numbers:
            name, snippet, fault, tests = FAULTS[number - 1]
            started = time.monotonic()
            files = [file for test in tests.split() if (file := folder / "tests" / f"test_{test}.py").is_file()]
            file = find(package, name, snippet)
            if file is None or not files:
                print(f"{number:3} NOT SEEDED  {name}: {snippet!r} (no such text, or none of its tests)", flush=True)
                survivors.append(number)
                continue
            whole, stamp = file.read_text(), file.stat()
            file.write_text(whole.replace(snippet, fault, 1))
            # numba looks at one file's date only, so that kernels which call a changed one need a cache of their own.
            cache = Path(temporary) / (f"cache_{number}" if "engine" in file.parts else "cache")
            try:
                passed = run_tests(folder, [str(file.relative_to(folder)) for file in files], cache, logs / f"{number}.log")
            finally:
                file.write_text(whole)
                os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
                shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)
            verdict = "SURVIVED" if passed else "caught"
            survivors += [number] * passed
            seconds = time.monotonic() - started
            print(f"{number:3} {verdict:10}  {name}: {snippet!r} -> {fault!r}  ({seconds:.0f} s)", flush=True)
    print(f"{len(numbers) - len(survivors)} of {len(numbers)} faults are caught" + f"; not: {survivors}" * bool(survivors))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
