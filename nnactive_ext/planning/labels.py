"""What may be done to the classes of a running roll-out: add, rename, merge and split them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.label_changes import BACKGROUND, IGNORE, LabelChange
from nnactive_ext.planning.rollout import label_names
from nnactive_ext.schemas import not_empty, parsed, typed

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GRAMMAR = (
    "add NAME [from A B ...], rename A B, merge A B [C ...] into NAME, split A into B C ...; or a JSON or TOML file: "
    '{"changes": ["rename A B", ...]}'
)
"""What ``-labels`` takes."""

Fate = str | None
"""The class that voxels of a class belong to from now on; None: nobody knows."""


def read_operations(words: Sequence[str]) -> list[list[str]]:
    """The operations that follow ``-labels``, each as its words.

    Args:
        words: the words of one operation, or the name of a JSON or TOML file with a list of operations. In the file, an
            operation is a text (names with spaces in quotes) or a list of words.

    Returns:
        The operations, in order.

    Raises:
        NnActiveError: the file cannot be read, or there is no operation in it.
    """
    if len(words) > 1:
        return [list(words)]
    file = Path(words[0])
    if not file.is_file():
        raise NnActiveError(f"-labels {words[0]}: no such file. Give a change of the classes: {GRAMMAR}.")
    try:
        text = file.read_bytes()
        content = tomllib.loads(text.decode()) if file.suffix.lower() == ".toml" else parsed(text)
        found = typed(_File, content)["changes"] if isinstance(content, dict) else typed(_Operations, content)
        operations = [shlex.split(one) if isinstance(one, str) else one for one in found]
    except (ValueError, RecursionError) as error:
        raise NnActiveError(f"{file}: no list of changes of classes ({error}). It holds: {GRAMMAR}.") from None
    return operations


_Operations = Annotated[list[str | list[str]], not_empty]
"""Each is a text, or a list of words."""


class _File(TypedDict):
    changes: _Operations


def change_of(names: Mapping[str, int], operations: Sequence[Sequence[str]]) -> LabelChange:
    """What ``operations``, done one after another, do to the classes ``names``.

    Classes keep their order: a merged class takes the place of the first that it is made of, the first part of a split one
    its place, and all other new classes come last. Values are consecutive, and ``ignore`` is the highest.

    >>> names = {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}
    >>> made = change_of(names, [["add", "vessel", "from", "organ"], ["rename", "lesion", "tumour"]])
    >>> made.after, made.mapping
    ({'background': 0, 'organ': 1, 'tumour': 2, 'vessel': 3, 'ignore': 4}, {0: 0, 1: 4, 2: 2, 3: 4})
    """
    classes = [name for name, _ in sorted(names.items(), key=lambda item: item[1]) if name not in (BACKGROUND, IGNORE)]
    fates: dict[str, Fate] = {name: name for name in [BACKGROUND, *classes]}
    for operation in operations:
        words = shlex.join(operation)
        done = _OPERATIONS.get(operation[0]) if operation else None
        if done is None:
            raise NnActiveError(f"-labels {words}: no change of the classes. Known are: {GRAMMAR}.")
        classes, moved = done(f"-labels {words}", classes, list(operation[1:]))
        fates = {name: None if fate is None else moved.get(fate, fate) for name, fate in fates.items()}
    after = label_names(classes, "-labels:")
    mapping = {names[name]: after[fate or IGNORE] for name, fate in fates.items()} | {names[IGNORE]: after[IGNORE]}
    told = tuple(shlex.join(operation) for operation in operations)
    return LabelChange(dict(names), after, dict(sorted(mapping.items())), told)


_Done = tuple[list[str], dict[str, Fate]]
"""The classes after an operation, and what became of those that it changed."""


def _add(what: str, classes: list[str], words: list[str]) -> _Done:
    if not words or (len(words) > 1 and (words[1] != "from" or len(words) == 2)):
        raise NnActiveError(f"{what}: expected add NAME, or add NAME from A B ...")
    name, sources = words[0], words[2:] or [BACKGROUND]
    _check_new(what, classes, [name])
    _check_known(what, [BACKGROUND, *classes], sources)
    return [*classes, name], dict.fromkeys(sources)


def _rename(what: str, classes: list[str], words: list[str]) -> _Done:
    if len(words) != 2:
        raise NnActiveError(f"{what}: expected rename A B")
    old, new = words
    _check_known(what, classes, [old])
    _check_new(what, [name for name in classes if name != old], [new])
    return [new if name == old else name for name in classes], {old: new}


def _merge(what: str, classes: list[str], words: list[str]) -> _Done:
    if len(words) < 4 or words[-2] != "into":
        raise NnActiveError(f"{what}: expected merge A B ... into NAME")
    parts, new = words[:-2], words[-1]
    _check_known(what, classes, parts)
    if len(set(parts)) < len(parts):
        raise NnActiveError(f"{what}: a class is named twice.")
    _check_new(what, [name for name in classes if name not in parts], [new])
    first = min(classes.index(name) for name in parts)
    left = [new if number == first else name for number, name in enumerate(classes) if number == first or name not in parts]
    return left, dict.fromkeys(parts, new)


def _split(what: str, classes: list[str], words: list[str]) -> _Done:
    if len(words) < 4 or words[1] != "into":
        raise NnActiveError(f"{what}: expected split A into B C ...")
    old, parts = words[0], words[2:]
    _check_known(what, classes, [old])
    if old in parts:
        others = " and ".join(f"'add {shlex.quote(name)} from {shlex.quote(old)}'" for name in parts if name != old)
        raise NnActiveError(f"{what}: {old} would mean less than before under its old name. If that is meant: {others}.")
    _check_new(what, classes, parts)
    return [parts[0] if name == old else name for name in classes] + parts[1:], {old: None}


_OPERATIONS: dict[str, Callable[[str, list[str], list[str]], _Done]] = {
    "add": _add,
    "rename": _rename,
    "merge": _merge,
    "split": _split,
}


def _check_known(what: str, classes: Sequence[str], names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in classes]
    if unknown:
        fixed = [name for name in unknown if name in (BACKGROUND, IGNORE)]
        why = f"{fixed[0]} is nnU-Net's" if fixed else f"there is no class {', '.join(unknown)}"
        raise NnActiveError(f"{what}: {why}. The classes are {', '.join(c for c in classes if c != BACKGROUND)}.")


def _check_new(what: str, classes: Sequence[str], names: Sequence[str]) -> None:
    taken = {name.lower() for name in (*classes, BACKGROUND, IGNORE)}
    for name in names:
        if name.lower() in taken:
            raise NnActiveError(f"{what}: {name} is there already. The classes are {', '.join(classes)}.")
        taken.add(name.lower())
