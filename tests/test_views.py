"""What a vision-language model gets, and the scores of a screening by what it says."""

import numpy as np
import pytest
from PIL import Image

from nnactive_ext.cli import screen
from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json, write_json
from nnactive_ext.screening import Options, screen_pool
from nnactive_ext.screening.views import export_views


@pytest.mark.slow
def test_each_case_has_five_slices_along_each_axis(planned, tmp_path):
    folder = tmp_path / "views"
    cases = sorted(planned.plan.pool)
    assert export_views(planned, folder, progress=False) == len(cases) * 2 * 15
    assert sorted(file.name for file in folder.iterdir()) == cases
    files = sorted(file.name for file in (folder / cases[0]).iterdir())
    planes = ("axial", "coronal", "sagittal")
    assert files == sorted(f"channel_{c}_{plane}_{n}.png" for c in (0, 1) for plane in planes for n in (1, 2, 3, 4, 5))
    middle, edge = (np.asarray(Image.open(folder / cases[0] / f"channel_0_axial_{n}.png")) for n in (3, 1))
    assert middle.dtype == np.uint8
    assert max(middle.shape) <= 1.5 * 448 + 1
    assert middle.std() > 10
    assert not np.array_equal(middle, edge)
    with pytest.raises(NnActiveError, match="new folder"):
        export_views(planned, folder, progress=False)


def write_files(folder, cases):
    """Embeddings in which the third case is like an irrelevant text."""
    folder.mkdir(exist_ok=True)
    (folder / "texts.csv").write_text("id,group\nct,relevant\nmri,irrelevant\n")
    rng = np.random.default_rng(0)
    texts = np.eye(8)[:2]
    images = np.array([texts[1 if case == cases[2] else 0] for case in cases]) + rng.normal(0, 0.05, (len(cases), 8))
    words = np.concatenate([texts[1:] + rng.normal(0, 0.1, (3, 8)), rng.normal(0, 0.3, (20, 8))])
    arrays = {"cases": np.array(cases), "image": images, "texts": np.array(["ct", "mri"]), "text": texts, "corpus": words}
    np.savez(folder / "embeddings.npz", **arrays)


def test_a_screening_by_texts_and_words(planned, tmp_path):
    """The case whose picture is like an irrelevant text is the strangest."""
    cases, options = sorted(planned.plan.pool), Options(scores=("relevance", "tanl"))

    def screened():
        return screen_pool(planned.anew(), lambda *_: pytest.fail("no member is asked"), options=options, progress=False)

    with pytest.raises(NnActiveError, match="-relevance FOLDER"):
        screened()
    file = planned.raw / "nnactive_plan.json"
    write_json(file, {**read_json(file), "settings": {"relevance": [str(tmp_path / "files")]}})
    (tmp_path / "files").mkdir()
    with pytest.raises(NnActiveError, match="no similarity"):
        screened()
    write_files(tmp_path / "files", cases)
    found = screened()
    for one in found.scores:
        assert cases[int(np.argmax(one.values))] == cases[2], one.name
    assert found.measured[found.flagged[0]].name == cases[2]


@pytest.mark.slow
def test_texts_and_views_as_they_are_typed(planned, tmp_path, capsys):
    file, cases = planned.raw / "nnactive_plan.json", sorted(planned.plan.pool)
    write_json(file, {**read_json(file), "settings": {"relevance": [str(tmp_path / "files")]}})
    write_files(tmp_path / "files", cases)
    screen.main("-d 101 -scores relevance tanl --disable_progress_bar".split())
    assert "less like the relevant texts than theirs" in " ".join(capsys.readouterr().out.split())
    screen.main(["-d", "101", "--export_views", str(tmp_path / "views"), "--disable_progress_bar"])
    assert (tmp_path / "views" / cases[0]).is_dir()
    with pytest.raises(SystemExit):
        screen.main(f"-d 101 -scores tanl -reference all --export_reference {tmp_path / 'r.npz'}".split())
    assert "-scores tanl" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        screen.main(["-d", "101", "-i", str(tmp_path), "-o", str(tmp_path / "o"), "-scores", "tanl"])
