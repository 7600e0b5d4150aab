"""The benchmarks of what a query does beside predicting run, and tell what they measured."""

from __future__ import annotations

import json

import pytest
from fake_members import FakeEnsemble, fake_tools, fake_train

from benchmarks import accumulators, cycle, from_logits, member_statistics, query_split, whole_cycle
from nnactive_ext.members import ensemble
from nnactive_ext.members.tools import Tools


def test_accumulators(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(accumulators, "SHAPE", (12, 13, 14))
    monkeypatch.setattr(accumulators, "BOX", 4)
    accumulators.main(["--json", str(tmp_path / "numbers.json")])
    rows = json.loads((tmp_path / "numbers.json").read_text())["rows"]
    assert [row["accumulators"] for row in rows] == ["single", "half"] * 4
    assert all(0 < row["p_max"] < (1e-6 if row["accumulators"] == "single" else 3e-3) for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 4 + len(rows)


@pytest.mark.parametrize("method", ["clasp_pe", "coreset"])
def test_query_split(planned, monkeypatch, tmp_path, capsys, method):
    """On fake members; twice, because what is stored after the first time is not to be taken for measured."""
    for fold in planned.folds():
        fake_train(planned, fold)
    monkeypatch.setattr(ensemble, "NnUNetEnsemble", lambda experiment, folds, device: FakeEnsemble(experiment, 3))
    for _ in range(2):
        query_split.main(f"-d 101 -f 0 1 2 -n_cases 3 --method {method} --json {tmp_path / 'numbers.json'}".split())
        rows = json.loads((tmp_path / "numbers.json").read_text())["rows"]
        assert len(rows) == 3
        steps = [step for step in query_split.STEPS if step != "describe" or method == "coreset"]
        assert all(row[step] >= 0 for row in rows for step in steps)
        printed = capsys.readouterr().out
        assert all(row["case"] in printed for row in rows)
    assert not (planned.raw / "loop_001.json").exists()


def test_the_share_is_everything_else_over_the_prediction(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    first = {"case": "a", "shape": (1, 2, 3), "load": 9.0, "predict": 1.0, "statistics": 9.0, "score": 9.0}
    second = {**first, "case": "b", "load": 0.1, "predict": 2.0, "statistics": 0.2, "score": 0.3}
    third = {**second, "case": "c", "predict": 4.0}
    assert query_split.share(second) == pytest.approx(0.3)
    median, total = query_split.report([first, second, third]).splitlines()[-3:-1]
    assert median.split()[0] == "median"
    assert median.split()[-4:] == ["22.5", "%", "0.0", "%"], "the median of 30 and 15 %"
    assert total.split()[-4:] == ["20.0", "%", "0.0", "%"], "1.2 of 6 s"
    described = [{**row, "describe": 0.5} for row in (first, second, third)]
    median, total = query_split.report(described).splitlines()[-3:-1]
    assert median.endswith(" 18.8 %"), "the median of 25 and 12.5 %"
    assert total.endswith(" 16.7 %"), "1 of 6 s"


def page(file, benchmark):
    file.write_text(f"before\n{benchmark.BEGIN}\nold\n{benchmark.END}\nafter\n")
    return file


@pytest.mark.usefixtures("one_thread")
def test_member_statistics(tmp_path, capsys):
    written = page(tmp_path / "page.md", member_statistics)
    member_statistics.main(["-channels", "3", "5", "-shape", "12", "-repeats", "1", "--markdown", str(written)])
    assert member_statistics.OURS in capsys.readouterr().out
    text = written.read_text()
    assert "old" not in text
    assert text.count("| ") > 20


@pytest.mark.slow
def test_cycle(nnunet_folders, tmp_path, capsys):
    """The same loop file with and without the pipeline, or it would end."""
    written = page(tmp_path / "page.md", cycle)
    sizes = "-shape 32 -channels 4 -cases 4 -seconds 0.05 -patch_size 8 8 8 -repeats 1".split()
    cycle.main([str(tmp_path / "work"), *sizes, "--json", str(tmp_path / "numbers.json"), "--markdown", str(written)])
    answer = json.loads((tmp_path / "numbers.json").read_text())
    assert [row["overlapped"] for row in answer["rows"]] == [False, True]
    assert all(row["seconds"] > row["device"] > 0 for row in answer["rows"])
    assert "same loop file" in written.read_text()


@pytest.mark.slow
def test_a_whole_cycle(nnunet_folders, tmp_path, monkeypatch, capsys):
    """Planned, trained, judged, queried and annotated as by the commands, with fake members, which cost nothing."""
    monkeypatch.setattr(Tools, "of_nnunet", classmethod(lambda cls, device, prepare: fake_tools()))
    written = tmp_path / "page.md"
    written.write_text("\n".join(("before", *cycle.WHOLE, "after")))
    words = "-device cpu -shape 32 -channels 4 -cases 4 -folds 2 -patch_size 8 8 8".split()
    cycle.main([str(tmp_path / "work"), *words, "--json", str(tmp_path / "numbers.json"), "--markdown", str(written)])
    answer = json.loads((tmp_path / "numbers.json").read_text())
    assert (answer["members"], answer["pool"], answer["test"]) == (2, 3, 1)
    assert {step for step, seconds in answer["steps"].items() if seconds > 0} >= set(whole_cycle.TEXTS) - {"train", "load"}
    assert sum(answer["steps"].values()) < answer["seconds"]
    assert all(text in written.read_text() for text in whole_cycle.TEXTS.values())
    assert str(tmp_path / "work") not in written.read_text()


def test_from_logits(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(from_logits, "PATCH", (8, 8, 8))
    monkeypatch.setattr(from_logits, "IMAGES", {"small": ((24, 25, 26), 1), "strided": ((24, 32, 24), 8)})
    monkeypatch.setattr(from_logits, "resampling", lambda: 2.0)
    written = tmp_path / "page.md"
    written.write_text("\n".join(("before", *from_logits.MARKS, "after")))
    from_logits.main(["-repeats", "1", "--json", str(tmp_path / "numbers.json"), "--markdown", str(written)])
    rows = json.loads((tmp_path / "numbers.json").read_text())["rows"]
    assert all(row["seconds"] > 0 and row["published"] > 0 for row in rows.values())
    assert "of 5 members take 150 at that rate" in " ".join(written.read_text().split()), "15 class maps of 2 s"
