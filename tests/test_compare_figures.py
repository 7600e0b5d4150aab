"""What figures of a comparison draw, and how often their layout is solved for, which takes long."""

from __future__ import annotations

import math
from contextlib import contextmanager

import numpy as np
import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine
from results import ALL, write_experiment

from nnactive_ext.compare import figures_curves, figures_foreground
from nnactive_ext.compare.looks import figure
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.settings import group
from nnactive_ext.compare.summary import summarise
from nnactive_ext.compare.trajectories import read_trajectories


def summary_of(folders):
    grouped = group(read_trajectories(folders))
    (setting,) = grouped.settings
    return summarise(type(setting)(setting.key, setting.name, setting.trajectories, grouped.full)), Names.of(grouped.settings)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that the module draws, which are not written."""
    figures = []

    @contextmanager
    def kept(folder, name, *size):
        from matplotlib.figure import Figure

        figures.append(Figure(layout="constrained"))
        yield figures[-1]

    monkeypatch.setattr(figures_foreground, "figure", kept)
    return figures


def test_the_foreground_figure_shows_which_points_the_fit_saw(tmp_path, drawn):
    shares = [0.01, 0.02, 0.04]
    dice = [0.9 - 0.5 * math.exp(-30 * (share - 0.01)) for share in shares]
    folders = [
        write_experiment(tmp_path, 501, dice, shares=shares, seed=1),
        write_experiment(tmp_path, 502, [0.4, 0.45], shares=[0.01, 0.09], seed=2, cycles=3),
        write_experiment(tmp_path, 503, [0.9], purpose=ALL),
    ]
    summary, names = summary_of(folders)
    assert figures_foreground.foreground_curves(summary, names, tmp_path)
    (axes,) = drawn[0].axes
    lines = [line for line in axes.lines if len(line.get_xdata()) and line.get_label() != "all labels"]
    fit = next(line for line in lines if len(line.get_xdata()) > 10)
    hollow = [line for line in lines if line.get_markerfacecolor() == "none"]
    solid = [line for line in lines if line not in hollow and line is not fit]
    assert np.concatenate([line.get_xdata() for line in hollow]) == pytest.approx([1, 9])
    assert np.concatenate([line.get_xdata() for line in solid]) == pytest.approx([1, 2, 4])
    assert max(fit.get_xdata()) == pytest.approx(4)
    assert "hollow" in drawn[0].legends[0].get_title().get_text()


@pytest.fixture
def solved(monkeypatch):
    times = []
    execute = ConstrainedLayoutEngine.execute
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda self, f: times.append(1) or execute(self, f))
    return times


def test_the_layout_is_solved_for_once(tmp_path, solved):
    with figure(tmp_path, "name", 4, 3) as made:
        made.add_subplot().plot([1, 2])
    assert len(solved) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"name.png", "name.svg"}


@pytest.mark.parametrize(("number", "times"), [(2, 1), (13, 0)])
def test_many_classes_need_no_solving_and_share_one_scale(tmp_path, solved, monkeypatch, number, times):
    figures = []

    @contextmanager
    def kept(*words):
        with figure(*words) as made:
            figures.append(made)
            yield made

    monkeypatch.setattr(figures_curves, "figure", kept)
    classes = [f"class {i}" for i in range(number)]
    cycles = [{name: 0.1 + 0.05 * i + 0.01 * cycle for i, name in enumerate(classes)} for cycle in range(3)]
    summary, names = summary_of([write_experiment(tmp_path / "r", 501, cycles, classes=classes)])
    assert figures_curves.class_curves(summary, names, tmp_path) == "classes_Organs"
    assert len(solved) == times
    shown = [axes for axes in figures[0].axes if axes.lines]
    assert len(shown) == number
    for axes in shown:
        low, high = axes.get_ylim()
        assert low < 10
        assert high > 100 * cycles[-1][classes[-1]]
