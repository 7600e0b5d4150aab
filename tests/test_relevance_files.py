"""The user's files about relevance: what is read, and what is refused by name."""

import numpy as np
import pytest

from nnactive_ext.errors import NnActiveError
from nnactive_ext.relevance import read_similarity, read_texts, read_words

SHAPES = {"a": (8, 9, 10), "b": (8, 9, 10)}
TEXTS = "id,group,class,text\nct,relevant,,a CT of the liver\ntum,relevant,tumour,a tumour\nmri,irrelevant,,an MRI\n"
TABLE = "case,ct,tum,mri\na,.3,.2,.1\nb,.1,.2,.3\n"


def read(folder, texts=TEXTS, table=TABLE, known=("t",)):
    if texts is not None:
        (folder / "texts.csv").write_text(texts)
    if table is not None:
        (folder / "similarity.csv").write_text(table)
    return read_similarity(folder, SHAPES, known, ["liver", "tumour"])


def save(folder, **changed):
    rng = np.random.default_rng(0)
    arrays = {"cases": np.array(["b", "a"]), "image": rng.normal(size=(2, 3, 5)), "texts": np.array(["mri", "ct", "tum"])}
    arrays |= {"text": rng.normal(size=(3, 5)), **changed}
    np.savez(folder / "embeddings.npz", **{key: value for key, value in arrays.items() if value is not None})
    return arrays


def test_a_table_is_read_by_the_ids_of_its_columns(tmp_path):
    found = read(tmp_path)
    assert found.texts.ids == ("ct", "mri", "tum")
    assert found.texts.relevant.tolist() == [True, False, True]
    assert found.rows(["b", "a"]).tolist() == [[0.1, 0.3, 0.2], [0.3, 0.1, 0.2]]
    (tmp_path / "other").mkdir()
    moved = read(tmp_path / "other", table="mri;case;tum;ct\n,3;b.nii.gz;,2;,1\n".replace(",", ".") + ".1;a;.2;.3\n")
    assert np.array_equal(moved.rows(["a", "b"]), found.rows(["a", "b"]))


def test_the_largest_similarity_over_the_boxes_of_a_case_counts(tmp_path):
    box = "case,start_z,start_y,start_x,size_z,size_y,size_x,ct,tum,mri\na,0,0,0,4,9,10,.1,.4,0\na,4,0,0,4,9,10,.3,.2,0\n"
    found = read(tmp_path, table=f"{box}b,,,,,,,.1,.2,.3\n")
    assert found.of["a"].tolist() == [0.3, 0, 0.4]
    (note,) = found.notes
    assert note.startswith("1 case has rows for boxes")
    for wrong in ("-1,0,0,4,9,10", "0,0,0,0,9,10", "0,0,,4,9,10", "0,0,0.5,4,9,10"):
        with pytest.raises(NnActiveError, match="line 2: the box at"):
            read(tmp_path, table=box.replace("0,0,0,4,9,10", wrong))
    with pytest.raises(NnActiveError, match="line 2: the box at 0, 0, 0 of size 4, 9, 11 is not inside the image of a"):
        read(tmp_path, table=box.replace("4,9,10,.1", "4,9,11,.1"))


def test_embeddings_give_the_same_as_their_cosines_in_a_table(tmp_path):
    arrays = save(tmp_path)
    found = read(tmp_path, table=None)
    unit = [array / np.linalg.norm(array, axis=-1, keepdims=True) for array in (arrays["image"], arrays["text"])]
    expected = np.einsum("nvd,kd->nvk", *unit).max(axis=1)
    np.testing.assert_allclose(found.rows(["b", "a"]), expected[:, [1, 0, 2]])


def test_without_similarity_there_is_none(tmp_path):
    assert read(tmp_path, table=None) is None
    assert read(tmp_path, texts=None, table=None) is None


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (TABLE.replace(".3,.2,.1", "nan,.2,.1"), "line 2: ct is 'nan'"),
        (TABLE.replace(".3,.2,.1", "1.2,.2,.1"), "line 2: ct is '1.2'"),
        (TABLE.replace(".3,.2,.1", ".3,,.1"), "line 2: tum is ''"),
        (TABLE.replace("a,", "c,"), "'c' is no case"),
        (TABLE.replace("b,.1,.2,.3\n", ""), "nothing about b"),
        (TABLE + "b,.1,.2,.3\n", "line 4: b is there twice"),
        (TABLE.replace("mri", "pet"), "no text pet"),
        ("case,ct,tum\na,.1,.2\nb,.1,.2\n", "nothing about the text mri"),
        (TABLE.replace("case", "image"), "first line must be case"),
        ("", "is empty"),
        (TABLE + "a,1\n", "line 4: it has 2 cells"),
    ],
)
def test_what_a_table_cannot_be(tmp_path, table, what):
    with pytest.raises(NnActiveError, match=what) as caught:
        read(tmp_path, table=table)
    assert "similarity.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "what"),
    [
        (TEXTS.replace("irrelevant", "other"), "line 4: the group 'other'"),
        (TEXTS.replace("relevant,tumour", "relevant,kidney"), "line 3: there is no class 'kidney'"),
        (TEXTS.replace("mri", "ct"), "line 4: the id 'ct' is there twice"),
        (
            TEXTS.replace("an MRI", "an MRI, of a knee"),
            "line 4: it has 5 cells, the first line 4. Put texts with commas in quotes",
        ),
        (TEXTS.replace(",relevant", ",irrelevant"), "no text is relevant"),
        ("id,text\nct,a CT\n", "no column group"),
        ("", "no column id, group"),
        (None, "no such file"),
    ],
)
def test_what_texts_cannot_be(tmp_path, texts, what):
    with pytest.raises(NnActiveError, match=what) as caught:
        read(tmp_path, texts=texts)
    assert "texts.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"text": None}, "cannot be read"),
        ({"cases": np.array(["b", "a"], object)}, "cannot be read"),
        ({"image": np.ones((3, 5))}, r"image \(3, 5\)"),
        ({"image": np.ones((2, 4))}, "one model"),
        ({"image": np.array([[1, 2, 3, 4, np.nan]] * 2)}, "image of b holds NaN"),
        ({"image": np.zeros((2, 5))}, "is 0 everywhere"),
        ({"cases": np.array(["a", "a"])}, "a is there twice"),
        ({"cases": np.array(["a", "c"])}, "'c' is no case"),
        ({"texts": np.array(["mri", "ct", "pet"])}, "no text pet"),
        ({"cases": np.array(["a"]), "image": np.ones((1, 5))}, "nothing about b"),
    ],
)
def test_what_embeddings_cannot_be(tmp_path, changed, what):
    save(tmp_path, **changed)
    with pytest.raises(NnActiveError, match=what) as caught:
        read(tmp_path, table=None)
    assert "embeddings.npz" in str(caught.value)


def test_a_folder_that_is_not_there_and_two_sources_are_refused(tmp_path):
    with pytest.raises(NnActiveError, match="no such folder"):
        read_similarity(tmp_path / "none", SHAPES, (), ())
    save(tmp_path)
    with pytest.raises(NnActiveError, match="Keep one"):
        read(tmp_path)


def test_the_same_text_twice_is_said(tmp_path):
    (tmp_path / "texts.csv").write_text(TEXTS + "pet,irrelevant,,An  MRI\n")
    (note,) = read_texts(tmp_path / "texts.csv", ["tumour"]).notes
    assert "mri, pet are the same text" in note


def test_what_tanl_reads(tmp_path):
    save(tmp_path)
    (tmp_path / "texts.csv").write_text(TEXTS)
    with pytest.raises(NnActiveError, match="no array corpus"):
        read_words(tmp_path, SHAPES, ["tumour"])
    words = np.random.default_rng(1).normal(size=(7, 5))
    save(tmp_path, corpus=words, logit_scale=np.array(10.0))
    found = read_words(tmp_path, SHAPES, ["tumour"])
    assert (found.cases, found.relevant.shape, found.corpus.shape, found.scale) == (("b", "a"), (2, 2), (2, 7), 10.0)
    assert np.array_equal(found.relevant, read(tmp_path, table=None).rows(["b", "a"])[:, [0, 2]])
    save(tmp_path, corpus=words, cases=np.array(["a", "a"]))
    with pytest.raises(NnActiveError, match="a is there twice"):
        read_words(tmp_path, SHAPES, ["tumour"])
    save(tmp_path, corpus=words[:, :4])
    with pytest.raises(NnActiveError, match="one model"):
        read_words(tmp_path, SHAPES, ["tumour"])
