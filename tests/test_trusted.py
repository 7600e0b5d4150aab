"""What may run on this machine is what its user typed or confirmed: files with methods, by their content, and networks."""

from __future__ import annotations

import ast
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import nnactive_ext
from nnactive_ext.bench.definition import read_benchmark
from nnactive_ext.bench.runs import runs_of
from nnactive_ext.cli import env
from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.architecture import foreign_parts
from nnactive_ext.nnunet.properties import check_array
from nnactive_ext.nnunet.trusted import check_file, confirm, trusted_file
from nnactive_ext.planning.simulation import check
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.external import confirm_typed

OWN = "import os\nos.mkdir({!r})\nfrom nnactive_ext.query_methods.methods import get\nmine = get('random')\n"
UNET = "dynamic_network_architectures.architectures.unet.PlainConvUNet"


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    file = tmp_path / "it's_mine.py"
    file.write_text(OWN.format(str(tmp_path / "RAN")))
    return file


def test_a_file_that_somebody_named_runs_once_it_is_confirmed_and_until_it_is_changed(own, tmp_path, capsys):
    with pytest.raises(NnActiveError) as refused:
        methods.get_confirmed(f"{own}:mine")
    assert not (tmp_path / "RAN").exists()
    assert str(refused.value).endswith("""nnactive_env --trust '""" + str(own).replace("'", "'\"'\"'") + "'")
    env.main(["--trust", str(own)])
    assert str(own) in capsys.readouterr().out
    assert methods.get_confirmed(f"{own}:mine").name == "random"
    own.write_text(own.read_text() + "# edited\n")
    with pytest.raises(NnActiveError):
        methods.get_confirmed(f"{own}:mine")


def test_the_same_file_elsewhere_is_confirmed_too_and_others_stay_so(own, tmp_path):
    other = tmp_path / "other.py"
    other.write_text("x = 1\n")
    env.main(["--trust", str(own), str(other), "some.package.Network"])
    moved = own.rename(tmp_path / "moved.py")
    check_file(moved)
    check_file(other)
    assert foreign_parts({"network_class_name": "some.package.Network"}) == []
    assert trusted_file().is_relative_to(tmp_path / "settings")


def test_a_benchmark_runs_no_file_that_it_names(own, tmp_path, nnunet_folders):
    file = tmp_path / "bench.toml"
    table = '[[datasets]]\ndataset = "100"\npatch_sizes = ["5 5 3"]\nregimes = {low = 6}\n'
    file.write_text(f'name = "b"\nfirst_number = 700\nseeds = [1]\ncycles = 3\nmethods = ["{own}:mine"]\n{table}')
    (benchmark,) = [run for run in runs_of(read_benchmark(file), remember=False) if run.start]
    with pytest.raises(NnActiveError, match="nnactive_env --trust"):
        check(benchmark.settings, benchmark.name)
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("what", ["absent.py", "word", "a/b", "a..b", ""])
def test_nothing_else_is_confirmed(own, what):
    with pytest.raises(SystemExit):
        env.main(["--trust", what])
    assert not trusted_file().exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "torch.hub.load",
        "torch.nn.functional.torch.hub.load",  # begins well
        "torch.nn.modules.conv.torch.load",
        "dynamic_network_architectures.architectures.unet.torch.hub.load",
        "torch.nn.Module.__init__",
        "",
        ["torch.nn.Conv3d"],
    ],
)
@pytest.mark.parametrize("key", ["network_class_name", "conv_op"])
def test_a_network_is_made_of_layers(name, key):
    layers = {"network_class_name": UNET, "arch_kwargs": {"conv_op": "torch.nn.modules.conv.Conv3d", "norm_op": None}}
    architecture = {**layers, "_kw_requires_import": ["conv_op", "norm_op"]}
    assert foreign_parts(architecture) == []
    (architecture if key == "network_class_name" else architecture["arch_kwargs"])[key] = name
    assert foreign_parts(architecture) == [str(name)]


def test_checkpoints_and_pickles_are_opened_in_one_place_each():
    """Whoever needs another place makes it as careful."""
    folder = Path(nnactive_ext.__file__).parent
    roots = [folder, folder.parent / "trainers", folder.parent / "query_methods"]
    found = {}
    for file in {file for root in roots if root.is_dir() for file in root.rglob("*.py")}:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = f"{node.value.id}.{node.attr}"
                if called in ("torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "methods.get"):
                    found.setdefault(called, set()).add(file.name)
    expected = {"torch.load": {"checkpoints.py"}, "pickle.Unpickler": {"properties.py"}, "methods.get": {"query.py"}}
    assert found == expected
    assert os.path.basename(torch.load.__code__.co_filename) == "serialization.py"


def test_commands_that_begin_at_once_confirm_all_of_their_files(own, tmp_path):
    files = [tmp_path / f"m_{number}.py" for number in range(12)]
    for file in files:
        file.write_text(f"x = '{file.name}'\n")
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda file: confirm(str(file)), files))
    for file in files:
        check_file(file)


def test_a_typed_file_runs_where_nothing_can_be_kept(own, tmp_path, monkeypatch, capsys):
    (tmp_path / "no_folder").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no_folder"))
    monkeypatch.setenv("nnactive_confirmed", "")
    confirm_typed([f"{own}:mine"])
    assert "WARNING" in capsys.readouterr().err
    assert methods.get_confirmed(f"{own}:mine").name == "random"
    own.write_text(own.read_text() + "# edited\n")
    with pytest.raises(NnActiveError):
        check_file(own)


def test_voxels_that_look_like_a_recipe_are_opened(tmp_path):
    import blosc2

    file = tmp_path / "case.b2nd"
    voxels = np.zeros((40, 40, 40), np.uint8)
    voxels.reshape(-1)[1000:1005] = np.frombuffer(b"\xa4b2o\xa3", np.uint8)
    voxels.reshape(-1)[2000:2004] = np.frombuffer(b"\xa3b2o", np.uint8)
    blosc2.asarray(voxels, urlpath=str(file), mode="w", cparams={"clevel": 0})
    assert b"\xa3b2o" in file.read_bytes()
    assert check_array(file) == file
    blosc2.open(str(file), mode="r")
