"""Queries of methods that compare patches through files: stored descriptors, parts, what outdates them, and the start."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from fake_members import FakeEnsemble
from rollouts import OPTIONS

from nnactive_ext.cli import plan, query
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json
from nnactive_ext.planning.settings import command_of
from nnactive_ext.querying.query import query_cycle

PLANNING = "-d 100 -o 101 -patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 3 -folds 3 --preset cpu"
PLANNING += " --disable_progress_bar"


@pytest.fixture
def asked():
    """The cases whose patches were described, one for each pass over a case."""
    return []


@pytest.fixture
def ask(trained, asked):
    class Ensemble(FakeEnsemble):
        def describe(self, image, boxes, description):
            asked.append(len(boxes))
            return super().describe(image, boxes, description)

    def ask(method, parts=(0, 1), **options):
        opened = lambda experiment, folds: Ensemble(experiment, classes=3)  # noqa: E731
        done = query_cycle(trained, opened, trained.folds(), method, options, None, parts, progress=False)
        (trained.raw / "loop_001.json").unlink(missing_ok=True)
        return done

    return ask


def folder_of(trained):
    return trained.results / "cycle_000" / "candidates"


@pytest.mark.parametrize("method", ["coreset", "sisome"])
def test_parts_are_the_whole_and_stored_descriptors_are_read(ask, asked, trained, method):
    whole = ask(method)
    pool = len(trained.plan.pool)
    assert len(asked) == pool
    assert ask(method) == whole
    assert len(asked) == pool, "it was described again"
    for file in folder_of(trained).iterdir():
        file.unlink()
    assert ask(method, (1, 2)) is None
    assert ask(method, (0, 2)) is None
    assert len(asked) == 2 * pool
    assert ask(method) == whole
    assert len(asked) == 2 * pool


def test_a_damaged_or_missing_file_of_descriptors_is_made_again(ask, asked, trained):
    whole = ask("typiclust")
    one, other, *_ = sorted(folder_of(trained).glob("*.npz"))
    one.write_bytes(one.read_bytes()[:100])
    other.unlink()
    asked.clear()
    assert ask("typiclust") == whole
    assert len(asked) == 2
    with np.load(one, allow_pickle=False) as content:
        assert str(content["for"]) == read_json(one.with_suffix(".json"))["for"]
        assert content["candidate"].dtype == content["annotated"].dtype == np.float32


def test_methods_of_today_store_no_descriptors(ask, trained, asked):
    ask("clasp_pe")
    assert {file.suffix for file in folder_of(trained).iterdir()} == {".json"}
    assert not asked


def write_files(shapes, folder, dimensions=3):
    """A descriptor for each eighth of each image; ``shapes``: case -> voxels (z, y, x)."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for case, shape in shapes.items():
        half = [n // 2 for n in shape]
        corners = np.array(list(np.ndindex(2, 2, 2)))
        start = corners * half
        size = np.where(corners, np.array(shape) - half, half)
        vectors = rng.normal(size=(8, dimensions)).astype(np.float32)
        np.savez(folder / f"{case}.npz", start=start, size=size, descriptor=vectors)
    return folder


def shapes_of(images, ending):
    """The shape of each case of a folder of images whose names end so."""
    return {
        file.name.removesuffix(ending): sitk.GetArrayFromImage(sitk.ReadImage(file)).shape for file in images.glob(f"*{ending}")
    }


def test_an_edited_file_of_descriptors_outdates_its_case_only(ask, asked, trained, tmp_path, monkeypatch):
    folder = write_files({case: geometry.shape for case, geometry in trained.plan.pool.items()}, tmp_path / "vectors")
    first = ask("coreset", features=f"file:{folder}")
    assert not asked
    marks = {file.stem: read_json(file)["for"] for file in folder_of(trained).glob("*.json")}
    case = next(iter(trained.plan.pool))
    with np.load(folder / f"{case}.npz") as content:
        np.savez(folder / f"{case}.npz", **{**content, "descriptor": content["descriptor"] + 100})
    second = ask("coreset", features=f"file:{folder}")
    after = {file.stem: read_json(file)["for"] for file in folder_of(trained).glob("*.json")}
    assert [name for name in marks if marks[name] != after[name]] == [case]
    assert first != second


def test_pretrained_features_need_pretrained_weights(ask):
    with pytest.raises(NnActiveError, match="-pretrained"):
        ask("coreset", features="pretrained")


def test_too_little_memory_names_the_case_and_what_needs_less(trained):
    class Short(FakeEnsemble):
        def describe(self, image, boxes, description):
            raise RuntimeError("CUDA out of memory")

    with pytest.raises(NnActiveError, match=rf"{next(iter(trained.plan.pool))}: .*out of memory.*layers=2"):
        query_cycle(trained, lambda e, f: Short(e, classes=3), trained.folds(), "sisom", progress=False)


def test_large_query_patches_are_warned_of(ask, trained, monkeypatch):
    assert not any("network patch" in warning for warning in ask("coreset").warnings)
    monkeypatch.setattr("nnactive_ext.querying.query.network_size", lambda *_: (99, 99, 99))
    assert "100% of the network patch" in "".join(ask("coreset").warnings)
    assert not any("network patch" in warning for warning in ask("badge").warnings)


@pytest.mark.usefixtures("quick_planning")
def test_a_simulation_starts_with_descriptors_in_files(tiny, tmp_path, monkeypatch):
    write_files(shapes_of(tiny / "imagesTr", "_0000.nii.gz"), tmp_path / "vectors")
    monkeypatch.chdir(tmp_path)
    words = "-start typiclust features=file:vectors candidates=15"
    plan.main([*PLANNING.split(), *words.split()])
    experiment = Experiment.find(101)
    loop = read_json(experiment.raw / "loop_000.json")
    lasting = {"features": f"file:{tmp_path / 'vectors'}", "candidates": "15"}
    assert (loop["method"], loop["options"], len(loop["patches"])) == ("typiclust", lasting, 6)
    again = command_of(experiment.plan)
    at = again.index("-start")
    assert again[at + 1 : at + 4] == ["typiclust", *(f"{key}={value}" for key, value in lasting.items())]
    assert experiment.state["cycle"] == 0


@pytest.mark.usefixtures("tiny", "quick_planning")
@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("clasp_pe", "needs trained members"),
        ("coreset", "features=file:FOLDER"),
        ("sisom", "needs trained members"),
        ("typiclust features=file:/nowhere", "no such folder"),
        ("random -start_from loop_000.json", "-start_from"),
        ("typiclust features=file:.", "CASE.npz"),
        ("random --method coreset features=file:.", "CASE.npz"),
        ("random --method coreset features=pretrained", "-pretrained"),
    ],
)
def test_a_start_that_cannot_be_is_refused_before_anything_is_made(words, what, capsys, nnunet_folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        plan.main([*PLANNING.split(), "-start", *words.split()])
    assert ended.value.code not in (0, None)
    printed = capsys.readouterr()
    assert what in f"{ended.value.code}{printed.out}{printed.err}"
    assert not (nnunet_folders.raw / "Dataset101_Tiny").exists()


@pytest.mark.usefixtures("tiny", "quick_planning")
def test_any_method_without_members_may_start():
    plan.main([*PLANNING.split(), *"-start random_fg_66".split()])
    loop = read_json(Experiment.find(101).raw / "loop_000.json")
    assert (loop["method"], len(loop["patches"])) == ("random_fg_66", 6)
    query.main("-d 101 -device cpu --disable_progress_bar --method random".split())


def test_a_rollout_starts_with_descriptors_in_files(rollout, tmp_path):
    """They choose the part of the starting budget that is not around marked points."""
    folder = write_files(shapes_of(rollout.images, "_T1.nii.gz"), tmp_path / "vectors")
    drawn = read_json(rollout.plan().raw / "loop_000.json")["patches"]
    shutil.rmtree(rollout.experiment.raw)
    experiment = rollout.plan(f"{OPTIONS} -start probcover features=file:{folder}")
    loop = read_json(experiment.raw / "loop_000.json")
    assert loop["method"] == "probcover"
    assert len(loop["patches"]) == len(drawn) > 0
    assert loop["patches"] != drawn
    with pytest.raises(SystemExit):
        rollout.plan(f"{OPTIONS} -o 602 -start random_fg_66")
