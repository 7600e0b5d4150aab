"""A class counts in the starting budget when a patch holds a share of its structure; the published way is there as it was."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import World, blobs, disjoint, patches_of, statistics
from phantoms import KINDS
from scipy import ndimage

from nnactive_ext.cli import plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file, read_loop
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.query_methods.base import PoolCase, Query, Request, ScoredPatch
from nnactive_ext.query_methods.occupancy import Occupancy
from nnactive_ext.query_methods.random_patches import draw_around, draw_mixed
from nnactive_ext.query_methods.references import Reference, load_reference
from nnactive_ext.query_methods.starting_budget import PUBLISHED_SHARE, starting_budget
from nnactive_ext.query_methods.structure_share import deepest, holds
from nnactive_ext.querying.pool import pool_cases, request_for


def share_held(reference: np.ndarray, patch: Patch, label: int) -> float:
    """The share of a component that a patch holds, or of the patch that the class fills: the larger one. Components smaller
    than a tenth of the largest are specks."""
    components, number = ndimage.label(reference == label, np.ones((3, 3, 3)))
    if not number:
        return 0.0
    sizes = np.bincount(components.ravel())[1:]
    inside = np.bincount(components[patch.slices].ravel(), minlength=number + 1)[1:]
    large = sizes >= sizes.max() / 10
    return max(float((inside[large] / sizes[large]).max()), float((reference[patch.slices] == label).mean()))


def pool_of(references: dict[str, np.ndarray], size: tuple[int, int, int]) -> dict[str, PoolCase]:
    return {
        name: PoolCase(name, triple(labels.shape), triple(map(min, size, labels.shape)), (), lambda labels=labels: labels)
        for name, labels in references.items()
    }


SIZES = {"cardiac": (3, 12, 12), "vessels": (7, 40, 40), "thick_mri": (3, 16, 16), "abdominal_ct": (8, 14, 14)}


@pytest.mark.parametrize("kind", [*SIZES, "brain_mri"])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_class_of_every_kind_has_two_patches_with_a_tenth_of_it(kind, seed):
    cases = {f"case_{i}": KINDS[kind](10 * seed + i) for i in range(5)}
    names = cases["case_0"].names
    pool = pool_of({name: made.labels for name, made in cases.items()}, SIZES.get(kind, (10, 10, 10)))
    request = Request(2 * len(names) + 4, dict(enumerate(names, 1)), seed)
    query = starting_budget(pool, request)
    assert not query.warnings
    assert disjoint(patches_of(query))
    for label, name in enumerate(names, 1):
        held = sorted(share_held(cases[p.case].labels, p, label) for p in patches_of(query))
        assert held[-2] >= 0.1, name


def organ_with_border(where: int) -> np.ndarray:
    """A ball of class 1, and a block of class 2 beside it."""
    z, y, x = np.ogrid[:20, :40, :40]
    labels = np.zeros((20, 40, 40), np.uint8)
    labels[(z - 10) ** 2 * 4 + (y - where) ** 2 + (x - where) ** 2 < 150] = 1
    labels[6:14, 2:8, 30:36] = 2
    return labels


def of(references: dict[str, np.ndarray], size: tuple[int, int, int]) -> World:
    return World(triple(size), references, {name: statistics(r.shape) for name, r in references.items()})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_remnants_that_the_field_of_view_left_do_not_count(seed):
    """Four cases hold eight voxels of the class at their border, three hold all of it."""
    references = {f"whole_{i}": organ_with_border(18 + i) for i in range(3)}
    for i in range(4):
        references[f"cut_{i}"] = blobs((20, 40, 40), (1,), seed=i)
        references[f"cut_{i}"][0, :2, 20:24] = 2

    def good(share: float, seed: int) -> int:
        request = Request(10, {1: "organ", 2: "small"}, seed)
        drawn = patches_of(starting_budget(of(references, (4, 8, 8)).pool(), request, share))
        held = [(references[p.case][p.slices] == 2).sum() for p in drawn if p.case.startswith("whole")]
        return sum(voxels >= 0.1 * 4 * 8 * 8 for voxels in held)

    assert good(0.1, seed) >= 2
    assert min(good(0.0, one) for one in range(8)) < 2  # the published way is content with eight voxels


def test_a_structure_that_random_draws_do_not_reach_is_aimed_at():
    """A comb: most of its voxels are teeth, around which a patch holds less than a tenth of it; its body is in one place."""
    labels = np.zeros((3, 60, 300), np.uint8)
    labels[1, 30, 4:296] = 1
    labels[:, 20:40, 140:160] = 1
    patch = Patch("a", (0, 0, 0), (3, 9, 9))
    size = patch.size
    reference = Reference.of(labels)
    found = deepest(reference, 1, np.ones(labels.shape, bool).__getitem__, size)
    assert found is not None
    assert 24 <= found[1] <= 35
    assert 144 <= found[2] <= 155
    query = starting_budget(of({"a": labels, "b": labels.copy()}, (3, 9, 9)).pool(), Request(6, {1: "comb"}))
    counted = [p for p in patches_of(query) if holds(reference, p, 1)]
    assert len(counted) >= 2
    assert deepest(reference, 1, np.zeros(labels.shape, bool).__getitem__, size) is None


@pytest.mark.parametrize(
    ("inside", "structure", "counts"),
    [(0, 500, False), (49, 500, False), (50, 500, True), (100, 5000, True), (99, 5000, False), (1, 8, True)],
)
def test_when_a_patch_counts(inside, structure, counts):
    """The patch has 1000 voxels, so a tenth of the structure or of the patch is the smaller of the two."""
    labels = np.zeros((10, 10, 1000), np.uint8)
    flat = labels.transpose(2, 1, 0)  # a view, plane after plane along x
    for i in range(inside):
        flat[9 - i // 100, i // 10 % 10, i % 10] = 1
    for i in range(structure - inside):
        flat[10 + i // 100, i // 10 % 10, i % 10] = 1
    assert (labels == 1).sum() == structure
    patch = Patch("a", (0, 0, 0), (10, 10, 10))
    assert holds(Reference.of(labels), patch, 1) is counts
    assert holds(Reference.of(labels), patch, 1, 0.0) is (inside > 0)


def test_where_nothing_holds_enough_the_class_is_named():
    labels = np.zeros((1, 1, 400), np.uint8)
    labels[0, 0, ::2] = 1  # specks, each of them a component: any of them counts
    labels[0, 0, 100:] = 2
    taken = [Patch("a", (0, 0, 100), (1, 1, 290))]
    w = of({"a": labels, "b": np.zeros((1, 1, 400), np.uint8)}, (1, 1, 40))
    w.annotated = {"a": taken}
    query = starting_budget(w.pool(), Request(4, {1: "specks", 2: "long"}))
    assert any("long" in warning for warning in query.warnings)


def published(pool: dict[str, PoolCase], request: Request) -> Query:
    """The starting budget as it was drawn before a class had to be held: the code of that time, without its warnings."""
    names = {0: "background", **request.foreground}
    voxels, cases = dict.fromkeys(names, 0), {label: [] for label in names}
    for name in sorted(pool):
        reference = load_reference(pool[name])
        for label in names:
            count = int(np.count_nonzero(reference == label))
            voxels[label] += count
            if count:
                cases[label].append(name)
    rarest_first = sorted((label for label in names if voxels[label]), key=lambda label: (voxels[label], label))
    occupied, chosen, covered = Occupancy(pool), [], dict.fromkeys(rarest_first, 0)
    for goal in (1, 2):
        for label in rarest_first:
            if covered[label] >= goal or len(chosen) >= request.n:
                continue
            rng = request.rng(f"start/class {label}/{goal}")
            for name in rng.permutation(cases[label]).tolist():
                reference = load_reference(pool[name])
                patch = draw_around(occupied, name, Reference.of(reference), [label], False, rng)
                if patch is None:
                    continue
                occupied.take(patch)
                chosen.append(ScoredPatch(patch, 0.0, 0.0, names[label]))
                for other in np.unique(reference[patch.slices]).tolist():
                    if other in covered:
                        covered[other] += 1
                break
    rest, _ = draw_mixed(occupied, request, request.n - len(chosen), 0.33, "start/rest")
    return Query((*chosen, *rest), request.n - len(chosen) - len(rest))


@pytest.mark.parametrize("seed", range(6))
def test_the_published_way_is_as_it_was(seed):
    references = {f"case_{i}": blobs((12, 16, 16), (1, 2, 3), seed=10 * seed + i, share=0.02 + 0.05 * i) for i in range(5)}
    for n in (3, 9, 25):
        request = Request(n, {1: "liver", 2: "tumour", 3: "vessel"}, seed)
        new = starting_budget(of(references, (3, 4, 4)).pool(), request, PUBLISHED_SHARE)
        old = published(of(references, (3, 4, 4)).pool(), request)
        assert (new.patches, new.missing) == (old.patches, old.missing)


@pytest.mark.usefixtures("tiny", "quick_planning")
@pytest.mark.parametrize("protocol", ["published", "standard"])
def test_a_planned_simulation_draws_it_as_its_protocol_says(protocol):
    words = "-d 100 -o 101 -patch_size 3 4 2 -query_size 4 -starting_budget 9 -cycles 3 -folds 3 --preset cpu -np 1"
    plan.main([*words.split(), "--disable_progress_bar", "-protocol", protocol])
    experiment = Experiment.find(101)
    assert experiment.plan.protocol == protocol
    drawn = read_loop(loop_file(experiment.raw, 0), experiment.dataset.file_ending)
    pool = pool_cases(experiment, references=True)
    unannotated = {name: PoolCase(name, c.shape, c.patch_size, (), c.load_reference) for name, c in pool.items()}
    old = patches_of(published(unannotated, request_for(experiment, 9, -1)))
    if protocol == "published":
        assert drawn == old
    for label in experiment.dataset.labels.foreground:
        held = [share_held(unannotated[p.case].load_reference(), p, label) for p in drawn]
        assert protocol == "published" or sorted(held)[-2] >= 0.1
