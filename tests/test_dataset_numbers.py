"""Dataset numbers as nnU-Net takes them: three digits or more, from 1 on; and those that it mistakes for each other."""

from __future__ import annotations

import shutil

import pytest

from nnactive_ext.cli import plan
from nnactive_ext.compare.settings import group
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.nnunet.dataset import (
    check_dataset_name,
    dataset_folder_name,
    dataset_name,
    existing_names,
    mistaken_names,
    nnunet_identifier,
    number_and_name,
)
from nnactive_ext.planning.settings import command_of


@pytest.mark.parametrize(("number", "name"), [(1, "A"), (42, "B_C"), (999, "9_X"), (1000, "D"), (123456, "E-1")])
def test_a_name_and_back(number, name):
    assert number_and_name(dataset_name(number, name)) == (number, name)
    check_dataset_name(number, name)


def test_numbers_have_three_digits_or_more():
    assert [dataset_name(n, "X") for n in (7, 1234)] == ["Dataset007_X", "Dataset1234_X"]


@pytest.mark.parametrize("number", [0, -1, -1000])
def test_there_is_no_such_number(number, tiny, capsys):
    with pytest.raises(NnActiveError, match=str(number)):
        check_dataset_name(number, "X")
    with pytest.raises(SystemExit):
        plan.main(f"-d 100 -o {number} -cycles 2".split())
    assert str(number) in capsys.readouterr().err
    assert [folder.name for folder in tiny.parent.iterdir() if folder.is_dir()] == [tiny.name]


@pytest.mark.parametrize("name", ["Dataset12_X", "Dataset1234", "dataset004_X", "Dataset004_", "Liver"])
def test_other_names_are_none(name):
    with pytest.raises(NnActiveError, match="Dataset004_Name"):
        number_and_name(name)


def test_numbers_are_found_whole(nnunet_folders):
    for name in ("Dataset100_A", "Dataset1001_B", "Dataset010_C"):
        (nnunet_folders.results / name).mkdir()
    assert existing_names(100) == ["Dataset100_A"]
    assert existing_names(1001) == ["Dataset1001_B"]
    assert dataset_folder_name("1001") == "Dataset1001_B"
    with pytest.raises(NnActiveError):
        dataset_folder_name("1002")


def test_numbers_that_nnunet_mistakes(nnunet_folders):
    for name in ("Dataset100_A", "Dataset1001_B", "Dataset102_C"):
        (nnunet_folders.raw / name).mkdir()
    assert mistaken_names(100) == ["Dataset1001_B"]
    assert mistaken_names(1001) == ["Dataset100_A"]
    assert mistaken_names(1020) == ["Dataset102_C"]
    assert mistaken_names(102) == mistaken_names(10) == []
    assert nnunet_identifier("Dataset100_A") == "Dataset100_A"
    assert nnunet_identifier("Dataset1001_B") == "1001"
    assert nnunet_identifier("Dataset102_C") == "102"


@pytest.mark.parametrize("number", [1000, 1013, 54321])
def test_an_experiment_above_999(number, tiny, quick_planning, capsys):
    options = "-patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 2 -folds 2 --preset cpu -np 1 --disable_progress_bar"
    plan.main(f"-d 100 -o {number} {options}".split())
    experiment = Experiment.find(number)
    assert experiment.number == number
    assert experiment.name == f"Dataset{number}_Tiny"
    command = command_of(experiment.plan, labels=None, channels=None)
    assert command[command.index("-o") + 1] == str(number)
    assert command[command.index("-name") + 1] == "Tiny"
    assert ("WARNING" in capsys.readouterr().out.partition(f"number {number}")[0][-40:]) == (number == 1000)


def test_a_source_above_999(tiny, quick_planning):
    shutil.move(tiny, tiny.with_name("Dataset4321_Tiny"))
    options = "-patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 2 -folds 2 --preset cpu -np 1 --disable_progress_bar"
    plan.main(f"-d 4321 -o 7 {options}".split())
    command = command_of(Experiment.find(7).plan, labels=None, channels=None)
    assert command[command.index("-d") + 1] == "4321"


def test_a_comparison_names_the_data_without_its_number(tmp_path):
    from results import write_experiment

    from nnactive_ext.compare.trajectories import read_trajectories

    folders = [
        write_experiment(tmp_path, 1501 + n, (0.4, 0.5), method, source="Dataset1234_Liver") for n, method in enumerate("ab")
    ]
    grouped = group(read_trajectories(folders))
    assert grouped.settings[0].name.startswith("Liver")
