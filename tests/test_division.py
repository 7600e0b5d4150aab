"""Pool and test set: drawn as ever, whole groups, lists of one's own, imagesTs with labels; nobody is on both sides."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.planning.division import Division, divide
from nnactive_ext.planning.drawing import draw_test_set
from nnactive_ext.planning.settings import Settings

PATIENTS = [f"p{i // 3}_t{i % 3}" for i in range(12)]


def dataset(folder: Path, training, images=(), labels=(), channels: int = 1) -> Dataset:
    """A dataset of empty files: names alone decide."""
    for part, names in (("imagesTr", training), ("imagesTs", images), ("labelsTr", training), ("labelsTs", labels)):
        if names:
            (folder / part).mkdir(parents=True)
        for name in names:
            endings = [f"_{i:04d}" for i in range(channels)] if part.startswith("images") else [""]
            for ending in endings:
                (folder / part / f"{name}{ending}.nii.gz").touch()
    content = {
        "labels": {"background": 0, "organ": 1},
        "channel_names": {str(i): "MR" for i in range(channels)},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return Dataset(folder)


def divided(source: Dataset, **given) -> Division:
    return divide(source, Settings(number=901, **given))


def warnings(division: Division) -> list[str]:
    return [what for kind, what, _ in division.decisions if kind == "WARNING"]


@pytest.mark.parametrize(
    ("names", "test"),
    [
        ([f"tiny_{i}" for i in range(8)], "tiny_0 tiny_2"),
        ([f"phantom_{i:03d}" for i in range(24)], "phantom_002 phantom_004 phantom_013 phantom_014 phantom_015 phantom_020"),
        (PATIENTS, "p0_t0 p0_t2 p2_t2"),
        (list("abcd"), "a"),
        (
            [f"hippocampus_{i:03d}" for i in range(1, 41)],
            "hippocampus_002 hippocampus_010 hippocampus_012 hippocampus_013 hippocampus_015 hippocampus_022 hippocampus_023 "
            "hippocampus_025 hippocampus_033 hippocampus_035",
        ),
    ],
)
def test_without_groups_the_test_set_is_the_one_it_always_was(tmp_path, names, test):
    """What version 358f4dd drew."""
    found = divided(dataset(tmp_path, names))
    assert list(found.test) == test.split()
    assert sorted([*found.pool, *found.test]) == sorted(names)
    assert (found.groups, found.settings, found.source.tests) == ({}, {}, frozenset())
    assert draw_test_set(names, {name: name for name in names}) == test.split(), "groups of one case are no groups"


group_sizes = st.lists(st.integers(1, 9), min_size=3, max_size=12).filter(lambda sizes: sum(sizes) >= 4)


@given(group_sizes, st.randoms(use_true_random=False))
def test_whole_groups_as_near_to_a_quarter_as_they_allow(sizes, random):
    names = {f"c{i:03d}": i for i in range(sum(sizes))}
    of = [group for group, size in enumerate(sizes) for _ in range(size)]
    random.shuffle(of)
    groups = {name: f"g{of[i]}" for name, i in names.items()}
    test = draw_test_set(list(names), groups)
    pool = set(names) - set(test)
    assert {groups[case] for case in test}.isdisjoint(groups[case] for case in pool)
    assert len({groups[case] for case in pool}) >= 2
    assert test
    # Every choice there is, for comparison.
    reachable = {
        sum(sizes[i] for i in some) for k in range(1, len(sizes) - 1) for some in itertools.combinations(range(len(sizes)), k)
    }
    wanted = round(len(names) / 4)
    assert len(test) == min(reachable, key=lambda total: (abs(total - wanted), total))
    assert draw_test_set(list(reversed(names)), dict(reversed(groups.items()))) == test


def test_one_group_of_nearly_all_cases_stays_in_the_pool_with_another_one():
    groups = {f"c{i:02d}": "large" if i > 1 else f"small{i}" for i in range(12)}
    assert draw_test_set(list(groups), groups) in (["c00"], ["c01"])


@pytest.mark.parametrize("pattern", ["{all}{rest}", "{a}_{patient}"])
def test_too_few_groups_are_refused(tmp_path, pattern):
    source = dataset(tmp_path, [f"p{i}_{t}" for i in range(3) for t in "ab"])
    with pytest.raises(NnActiveError, match="At least 3 groups"):
        divided(source, groups=pattern)


def test_groups_by_pattern_and_by_table(tmp_path):
    source = dataset(tmp_path / "source", PATIENTS)
    found = divided(source, groups="{patient}_{time}", folds=5)
    assert found.groups == {name: name[:2] for name in PATIENTS}
    assert len(found.test) == 3
    assert len({found.groups[case] for case in found.test}) == 1
    assert found.settings == {"groups": "{patient}_{time}"}
    assert warnings(found) == ["few groups"], "3 groups in the pool for 5 folds"
    table = tmp_path / "who.csv"
    table.write_text("".join(f"{name},{name[:2]}\n" for name in PATIENTS) + "p9_t0,p9\n")
    again = divided(source, groups=str(table), folds=3)
    assert (again.test, again.pool, again.groups) == (found.test, found.pool, found.groups)
    assert again.settings == {"groups": "FOLDER/who.csv"}
    assert warnings(again) == ["names in the table of groups"]
    assert any("p9_t0" in why for _, _, why in again.decisions)


def test_groups_of_one_case_are_told(tmp_path):
    found = divided(dataset(tmp_path, [f"tiny_{i}" for i in range(8)]), groups="tiny_{patient}")
    assert "groups of one case" in warnings(found)
    assert list(found.test) == ["tiny_0", "tiny_2"]


def test_repeated_patients_without_groups_are_told_with_the_pattern(tmp_path):
    found = divided(dataset(tmp_path, PATIENTS))
    assert warnings(found) == ["several images of one patient?"]
    (why,) = [why for kind, _, why in found.decisions if kind == "WARNING"]
    assert "-groups '{patient}_{scan}'" in why
    assert "p0_t0" in why
    assert warnings(divided(Dataset(tmp_path), groups="{patient}_{scan}", folds=3)) == []


def listing(folder: Path, *names: str) -> Path:
    file = folder / "mine.txt"
    file.write_text("\n".join(names))
    return file


def test_a_test_set_of_ones_own(tmp_path):
    source = dataset(tmp_path / "source", PATIENTS)
    found = divided(source, test=listing(tmp_path, "p1_t2", "p0_t0"))
    assert found.test == ("p0_t0", "p1_t2")
    assert set(found.pool) == set(PATIENTS) - {"p0_t0", "p1_t2"}
    assert found.settings == {"test": "FOLDER/mine.txt"}


@pytest.mark.parametrize(
    ("names", "given", "named"),
    [
        (["p1_t2", "p7_t0"], {}, "p7_t0"),
        ([], {}, "no case"),
        (PATIENTS, {}, "12 of 12"),
        (PATIENTS[1:], {}, "at least 2 cases"),
        (["p1_t0", "p1_t1"], {"groups": "{patient}_{time}"}, "p1"),
        (PATIENTS[:9], {"groups": "{patient}_{time}"}, "one group"),
    ],
)
def test_test_sets_that_are_refused(tmp_path, names, given, named):
    with pytest.raises(NnActiveError, match=named):
        divided(dataset(tmp_path / "source", PATIENTS), test=listing(tmp_path, *names), **given)


def test_a_group_on_both_sides_is_named_with_its_cases(tmp_path):
    with pytest.raises(NnActiveError) as caught:
        divided(dataset(tmp_path / "source", PATIENTS), test=listing(tmp_path, "p1_t0"), groups="{patient}_{time}")
    assert all(text in str(caught.value) for text in ("p1_t0 (test set)", "p1_t1 (pool)", "p1_t2 (pool)"))


@given(group_sizes, st.data())
@settings(max_examples=10)
def test_a_listed_test_set_never_splits_a_group(tmp_path_factory, sizes, data):
    folder = tmp_path_factory.mktemp("listed")
    names = [f"g{group}_{i}" for group, size in enumerate(sizes) for i in range(size)]
    chosen = data.draw(st.sets(st.sampled_from(names), min_size=1))
    source = dataset(folder / "source", names)
    try:
        found = divided(source, test=listing(folder, *chosen), groups="{patient}_{scan}")
    except NnActiveError:
        whole = all(set(names) & {n for n in names if n.split("_")[0] == c.split("_")[0]} <= chosen for c in chosen)
        assert not whole or len({n.split("_")[0] for n in set(names) - chosen}) < 2
        return
    assert {n.split("_")[0] for n in found.test}.isdisjoint(n.split("_")[0] for n in found.pool)


HIDDEN = ["hidden_1", "hidden_2", "hidden_3"]
SEEN = [f"seen_{i}" for i in range(8)]


@pytest.mark.parametrize("channels", [1, 2])
def test_images_and_labels_of_the_test_folders_are_the_test_set(tmp_path, channels):
    source = dataset(tmp_path, SEEN, HIDDEN, HIDDEN, channels)
    (tmp_path / "imagesTs" / "._hidden_1_0000.nii.gz").touch()  # as archives made on a Mac have them
    (tmp_path / "labelsTs" / "._hidden_1.nii.gz").touch()
    found = divided(source)
    assert found.test == tuple(HIDDEN)
    assert found.pool == tuple(SEEN)
    assert warnings(found) == []
    cases = found.source.cases
    assert cases["hidden_2"].label == tmp_path / "labelsTs" / "hidden_2.nii.gz"
    assert [file.parent.name for file in cases["hidden_2"].images] == ["imagesTs"] * channels
    assert cases["seen_2"].images[0].parent.name == "imagesTr"


def test_images_without_labels_change_nothing_and_that_is_told(tmp_path):
    before = divided(dataset(tmp_path / "before", SEEN))
    for name, labels in (("without", False), ("empty", True)):
        source = dataset(tmp_path / name, SEEN, HIDDEN)
        if labels:
            (tmp_path / name / "labelsTs").mkdir()
        found = divided(source)
        assert (found.test, found.pool) == (before.test, before.pool)
        assert not found.source.tests
        assert warnings(found) == []
        assert [row[:2] for row in found.decisions if row[0] == "imagesTs"] == [("imagesTs", "3 cases, not used")]


@pytest.mark.parametrize(
    ("images", "labels", "named"),
    [
        (HIDDEN, HIDDEN[:2], "hidden_3"),
        (HIDDEN[:2], HIDDEN, "hidden_3"),
        ([*HIDDEN, "seen_4"], [*HIDDEN, "seen_4"], "seen_4"),
        ([], HIDDEN, "hidden_1"),
    ],
)
def test_test_folders_that_do_not_fit_are_not_used_and_that_is_a_warning(tmp_path, images, labels, named):
    before = divided(dataset(tmp_path / "before", SEEN))
    found = divided(dataset(tmp_path / "after", SEEN, images, labels))
    assert (found.test, found.pool) == (before.test, before.pool)
    assert len(warnings(found)) == 1
    assert any(named in why for kind, _, why in found.decisions if kind == "WARNING")


def test_a_channel_that_a_test_case_lacks(tmp_path):
    source = dataset(tmp_path, SEEN, HIDDEN, HIDDEN, channels=2)
    (tmp_path / "imagesTs" / "hidden_2_0001.nii.gz").unlink()
    found = divided(source)
    assert set(found.test) <= set(SEEN)
    assert any("hidden_2" in why for kind, _, why in found.decisions if kind == "WARNING")


def test_a_list_overrides_the_test_folders_or_chooses_from_them(tmp_path):
    source = dataset(tmp_path / "source", SEEN, HIDDEN, HIDDEN[:2])
    found = divided(source, test=listing(tmp_path, "seen_0", "seen_1"))
    assert found.test == ("seen_0", "seen_1")
    assert not found.source.tests
    found = divided(source, test=listing(tmp_path, "hidden_1", "hidden_2"))
    assert found.test == ("hidden_1", "hidden_2")
    assert found.pool == tuple(SEEN)
    assert set(found.source.cases) == {*SEEN, "hidden_1", "hidden_2"}
    for names, named in ((["seen_0", "hidden_1"], "one folder"), (["hidden_1", "hidden_3"], r"hidden_3\.nii\.gz")):
        with pytest.raises(NnActiveError, match=named):
            divided(source, test=listing(tmp_path, *names))


def test_a_patient_in_training_and_test_folders_is_refused(tmp_path):
    source = dataset(tmp_path, ["p1_a", "p1_b", "p2_a", "p3_a"], ["p2_b", "p4_a"], ["p2_b", "p4_a"])
    with pytest.raises(NnActiveError, match=r"p2_a \(pool\), p2_b \(test set\)"):
        divided(source, groups="{patient}_{scan}")
    assert warnings(divided(source)) == ["several images of one patient?"]


def test_a_test_case_whose_name_another_case_got_later_is_refused(tmp_path):
    found = divided(dataset(tmp_path, SEEN, HIDDEN, HIDDEN))
    (tmp_path / "imagesTr" / "hidden_1_0000.nii.gz").touch()
    with pytest.raises(NnActiveError, match="hidden_1"):
        _ = Dataset(tmp_path, tests=found.source.tests).entries
