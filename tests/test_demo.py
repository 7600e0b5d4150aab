"""The demo without its trainings: the commands that it types are understood, and pages open only before a person."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

from nnactive_ext import demo
from nnactive_ext.phantom import LESION, phantom


@pytest.fixture
def typed(monkeypatch, tmp_path) -> list[str]:
    """What the demo types, each parsed by its command's own parser instead of carried out; in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, "")  # which the demo replaces, so that it is put back after the test
    lines: list[str] = []

    def parsed(call, line):
        name, *words = line.split()
        import_module(f"nnactive_ext.cli.{name.removeprefix('nnactive_')}").parser().parse_args(words)
        lines.append(name + (f" {words[0]}" if name == "nnactive_annotate" else ""))

    monkeypatch.setattr(demo, "_call", parsed)
    return lines


def test_a_simulation_goes_from_images_to_a_report(typed, tmp_path, capsys):
    left = tmp_path / "demo_data" / "simulation" / "nnUNet_results" / "left"
    left.mkdir(parents=True)
    demo.main([])
    assert typed == ["nnactive_phantom", "nnactive_plan", "nnactive_run", "nnactive_report"]
    assert not left.exists(), "an earlier simulation is replaced"
    said = capsys.readouterr().out
    assert str(tmp_path / "demo_data" / "simulation" / "report.html") in said
    assert "not whether one query method is better" in said


def test_a_rollout_goes_on_where_it_was_left(typed, tmp_path):
    demo.main(["--rollout"])
    assert typed == ["nnactive_phantom", "nnactive_plan", "nnactive_annotate serve"]
    raw = tmp_path / "demo_data" / "rollout" / "nnUNet_raw" / "Dataset902_PhantomRollout"
    raw.mkdir()
    (raw / "nnactive_plan.json").touch()
    results = tmp_path / "demo_data" / "rollout" / "nnUNet_results" / "Dataset902_PhantomRollout" / "nnactive"
    results.mkdir(parents=True)
    (results / "cycle_000.json").touch()
    typed.clear()
    demo.main(["--rollout"])
    assert typed == ["nnactive_annotate serve", "nnactive_report"]


@pytest.mark.parametrize(
    ("terminal", "variables", "platform", "opens"),
    [
        (True, {"DISPLAY": ":0"}, "linux", True),
        (True, {"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        (True, {}, "linux", False),
        (True, {}, "darwin", True),
        (True, {}, "win32", True),
        (False, {"DISPLAY": ":0"}, "linux", False),
        (True, {"DISPLAY": ":0", "CI": "true"}, "linux", False),
    ],
)
def test_a_page_opens_only_before_a_person(typed, monkeypatch, terminal, variables, platform, opens):
    opened: list[str] = []
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setattr(demo.webbrowser, "open", opened.append)
    demo.main([])
    assert [address.startswith("file:") for address in opened] == [True] * opens


def test_every_case_of_the_demo_has_lesions():
    for seed, case in ((0, "phantom_001"), (1, "phantom_003")):
        assert not (phantom(seed, case).labels == LESION).any(), "which has none by itself"
        assert (phantom(seed, case, lesions=2).labels == LESION).any()
