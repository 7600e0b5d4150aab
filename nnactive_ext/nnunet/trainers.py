"""Looks a trainer up by its name as nnU-Net does, and refuses one whose trainings would not count as members."""

from __future__ import annotations

import ast
import inspect
import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.nnunet.environment import (
    TRAINERS,
    check_torchvision,
    extend_environment,
    trainer_search_path,
    trainers_folder,
)
from nnactive_ext.words import near

BASE = "nnActiveTrainer"
VARIANTS = {
    "Finetune": "nnactive_ext.nnunet.finetuning:Finetuning",
    "Snapshots": "nnactive_ext.nnunet.snapshots:Snapshots",
    "SSN": "nnactive_ext.nnunet.stochastic:Stochastic",
    "AbeT": "nnactive_ext.nnunet.abet:Ablated",
}
"""Variants of our own trainer: the word in their name -> the class that comes before it in theirs."""
NAME = re.compile(rf"{BASE}(?:_(?P<kind>{'|'.join(VARIANTS)}))?(?:_(?P<epochs>[1-9][0-9]*)epochs)?(?P<plain>_NoMirroring)?")
"""The names that our own trainer answers: the variant, its epochs, and whether it does not mirror."""
EPOCHS = 200
"""Of a name that says none."""
SNAPSHOTS, LEAST_EPOCHS = 5, 10
"""Snapshots of a training where the plans do not say how many, and the least number of epochs before each."""
_ARGUMENTS = ("plans", "configuration", "fold", "dataset_json", "device")
"""What nnU-Net collects from a trainer's ``__init__``, by name."""
_DERIVE = "from nnactive_ext.trainers.nnActiveTrainer import nnActiveTrainer"


def check_trainer(name: str) -> None:
    """Make sure that nnU-Net finds a trainer and that what it trains will be a member.

    The names of our own trainer need no look-up, unless ``nnUNet_extTrainer`` names other folders: nnU-Net imports all modules
    there first. Other names import nnU-Net, which takes seconds.

    Args:
        name: the trainer, as after ``-tr``.

    Raises:
        NnActiveError: there is no such trainer (with similar names), it does not derive from ``nnActiveTrainer``, its
            ``__init__`` has other arguments than nnU-Net's, or a module in a folder of trainers cannot be imported.
    """
    if not (NAME.fullmatch(name) and not _other_folders()):
        _found(name, trainer_search_path(os.environ))


def trainer_class(name: str) -> Any:
    """The class that nnU-Net trains when it is given ``name``; one that :func:`check_trainer` refuses is an error."""
    return _found(name, trainer_search_path(os.environ))


def starts_pretrained(name: str) -> bool:
    """Whether a trainer loads the weights of ``nnactive_plan -pretrained``."""
    match = NAME.fullmatch(name)
    if match and not _other_folders():
        return match["kind"] == "Finetune"
    return bool(getattr(_found(name, trainer_search_path(os.environ)), "finetuning", False))


def trains_snapshots(name: str) -> bool:
    """Whether a trainer keeps snapshots, see :class:`nnactive_ext.nnunet.snapshots.Snapshots`."""
    if (match := NAME.fullmatch(name)) and not _other_folders():
        return match["kind"] == "Snapshots"
    return bool(getattr(trainer_class(name), "snapshots", False))


def trains_stochastic(name: str) -> bool:
    """Whether a trainer trains stochastic networks, see :class:`nnactive_ext.nnunet.stochastic.Stochastic`."""
    if (match := NAME.fullmatch(name)) and not _other_folders():
        return match["kind"] == "SSN"
    return bool(getattr(trainer_class(name), "stochastic", False))


def trains_abet(name: str) -> bool:
    """Whether the energies of a trainer's networks are AbeT's, see :class:`nnactive_ext.nnunet.abet.Ablated`."""
    if (match := NAME.fullmatch(name)) and not _other_folders():
        return match["kind"] == "AbeT"
    return bool(getattr(trainer_class(name), "ablated_temperature", False))


def mirrors(name: str) -> bool:
    """Whether a trainer mirrors, as far as its name or its class attribute ``mirroring`` says."""
    if (match := NAME.fullmatch(name)) and not _other_folders():
        return match["plain"] is None
    return bool(trainer_class(name).mirroring)


def check_snapshots(trainer: str, epochs: int, number: int) -> None:
    """Epochs that do not divide into ``number`` equal parts of at least 10 epochs are an error."""
    if epochs % number or epochs < LEAST_EPOCHS * number:
        nearest = number * max(LEAST_EPOCHS, round(epochs / number))
        raise NnActiveError(
            f"{trainer}: {epochs} epochs cannot be divided into {number} equal parts of at least {LEAST_EPOCHS} epochs, one "
            f"for each snapshot. Train {nearest} epochs, or choose another number of snapshots."
        )


def snapshot_file(fold_folder: Path | str, number: int) -> Path:
    """The checkpoint of a snapshot, counted from 1; the last snapshot of a training is ``checkpoint_final.pth``."""
    return Path(fold_folder) / f"checkpoint_snapshot_{number}.pth"


def snapshot_files(fold_folder: Path | str) -> list[Path]:
    """The snapshots that a training left, without the last one."""
    return sorted(Path(fold_folder).glob("checkpoint_snapshot_*.pth"))


def builds_its_own_network(name: str) -> bool:
    """Whether a trainer replaces nnU-Net's ``build_network_architecture``, so that the plans do not say what it trains."""
    if (match := NAME.fullmatch(name)) and not _other_folders():
        return match["kind"] in ("SSN", "AbeT")
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    found = _found(name, trainer_search_path(os.environ))
    return found.build_network_architecture is not nnUNetTrainer.build_network_architecture


@cache
def _found(name: str, search_path: str) -> Any:
    """The class; ``search_path``: the folders of trainers, which a second look-up may find changed."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    check_torchvision()
    extend_environment()
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries that nnU-Net imports when it looks for trainers
            found = recursive_find_trainer_class_by_name(name)
    except (AssertionError, TypeError) as error:
        if _file_in_folders(error) is None:  # nnU-Net's own: it derives from no trainer at all, or is no class
            raise _no_member(name, "is not a trainer of nnU-Net's") from None
        raise _broken(name, error) from None
    except RuntimeError as error:
        if "Could not find requested nnunet trainer" in str(error):
            raise _unknown(name) from None
        raise _broken(name, error) from None
    except (Exception, SystemExit) as error:  # whatever a module of the user's does when it is imported
        raise _broken(name, error) from None
    _check(name, found)
    return found


def _check(name: str, found: Any) -> None:
    if not any(base.__name__ == BASE and base.__module__.rpartition(".")[2] == BASE for base in found.__mro__):
        bases = " and ".join(base.__name__ for base in found.__bases__)
        raise _no_member(name, f"({_place(found)}) derives from {bases}, not from {BASE}")
    if found.__name__ != name:
        raise NnActiveError(
            f"Trainer {name}: another name of the class {found.__name__}, after which nnU-Net calls the folder of its results. "
            f"Use -tr {found.__name__}."
        )
    arguments = inspect.signature(found.__init__).parameters
    if sorted(list(arguments)[1:]) != sorted(_ARGUMENTS):
        raise NnActiveError(
            f"Trainer {name} ({_place(found)}): its __init__ must have the arguments (self, {', '.join(_ARGUMENTS)}), because "
            f"nnU-Net collects them by name. It has ({', '.join(map(str, arguments.values()))})."
        )


def _no_member(name: str, why: str) -> NnActiveError:
    return NnActiveError(
        f"Trainer {name} {why}. Only {BASE} trains on partial labels and marks what it trained as a member of this "
        f"experiment; a training by another trainer would not count. Use {BASE}, or derive a trainer of your own from it:\n"
        f"    {_DERIVE}\n"
        f"    class {'MyTrainer' if name.startswith('nnUNet') else name}({BASE}): ...\n{_where()}"
    )


def _unknown(name: str) -> NnActiveError:
    number = re.search(r"[1-9][0-9]*", name)
    ours = [name for base in _families() for name in (base, f"{base}_NoMirroring")]
    ours += [name for base in _families(f"_{number[0] if number else 10}epochs") for name in (base, f"{base}_NoMirroring")]
    similar = near(name, [*ours, *_classes_in_folders()])
    meant = f"Did you mean {' or '.join(similar)}? " if similar else ""
    return NnActiveError(
        f"Trainer {name}: nnU-Net finds no such trainer. {meant}There are {BASE}, {BASE}_<N>epochs, {BASE}_NoMirroring and "
        f"{BASE}_<N>epochs_NoMirroring for any N above 0, the same for {' and '.join(_families()[1:])}, and the classes that "
        f"derive from them ({_DERIVE}).\n{_where()}"
    )


def _families(ending: str = "") -> list[str]:
    return [f"{BASE}{ending}", *(f"{BASE}_{variant}{ending}" for variant in VARIANTS)]


def _broken(name: str, error: BaseException) -> NnActiveError:
    file = _file_in_folders(error)
    what = f"{type(error).__name__}: {brief(error)}"
    if file is None:
        return NnActiveError(f"Trainer {name}: nnU-Net cannot look for it, because an import failed ({what}).")
    return NnActiveError(
        f"{file}: cannot be imported ({what}). nnU-Net imports every module in the folders of {TRAINERS} when it looks for the "
        f"trainer {name}. Correct the module, or move it elsewhere."
    )


def _where() -> str:
    folders = [f"{folder}{'' if folder.is_dir() else ' (no such folder)'}" for folder in _folders(others=True)]
    now = f"it names {', '.join(folders)} now" if folders else "it names no folder of yours now"
    return f"nnU-Net finds it in a file of any name in a folder that the environment variable {TRAINERS} names; {now}."


def _folders(others: bool = False) -> list[Path]:
    """In the order in which nnU-Net looks; ``others``: without ours."""
    folders = [Path(folder) for folder in trainer_search_path(os.environ).split(os.pathsep)]
    return [folder for folder in folders if not (others and folder.resolve() == trainers_folder())]


def _other_folders() -> list[Path]:
    return [folder for folder in _folders(others=True) if folder.is_dir()]


def _file_in_folders(error: BaseException) -> Path | None:
    """The module of a folder of trainers at which an import ended."""
    files, traceback = [], error.__traceback__
    while traceback is not None:
        files.append(traceback.tb_frame.f_code.co_filename)
        traceback = traceback.tb_next
    files += [str(error.filename)] if isinstance(error, SyntaxError) else []
    folders = [folder.resolve() for folder in _folders()]
    inside = [Path(file) for file in files if any(folder in Path(file).resolve().parents for folder in folders)]
    return inside[-1] if inside else None


def _classes_in_folders() -> Iterator[str]:
    for folder in _other_folders():
        for file in sorted(folder.rglob("*.py")):
            try:
                tree = ast.parse(file.read_bytes())
            except (OSError, SyntaxError, ValueError):
                continue
            yield from (node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def _place(found: Any) -> str:
    """The file of a class; its module is no longer loaded, but its functions know where they come from."""
    functions = [value for value in vars(found).values() if inspect.isfunction(value)]
    return functions[0].__code__.co_filename if functions else f"module {found.__module__}"
