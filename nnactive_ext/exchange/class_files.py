"""Which returned files are masks of one class, and which of them are one answer together: ``TASK_CLASS``, ``TASK/CLASS``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnactive_ext.exchange.matching import Matching, named_candidates, stem_of
from nnactive_ext.images.class_files import ClassFiles, carries_names
from nnactive_ext.images.class_names import ClassName, class_in
from nnactive_ext.images.sizes import Grid
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.words import enumerated, listed, plural

_BETWEEN = re.compile(r"seg(mentation)?s?|masks?|labels?", re.IGNORECASE)
"""The folder that may lie between a case's folder and the files of its classes."""

_Group = tuple[str, Path | None]
"""What files answer, and the folder they lie in; None if somebody named them."""


@dataclass(frozen=True)
class _Place:
    """The task's id or the case that a file belongs to, the tasks that it may answer, and the rest of its name; ``nested``:
    its folder has their name, and the file's own has not."""

    owner: str
    tasks: Sequence[Task]
    by_case: bool
    rest: str
    nested: bool


@dataclass(frozen=True)
class Parts:
    """The masks of one answer, and the tasks that they may answer; ``by_case``: they are of whole images."""

    files: ClassFiles
    tasks: Sequence[Task]
    by_case: bool


@dataclass
class Sorted:
    """Found files. Of those that are one answer together the first stands in ``files``, and ``parts`` has them all.
    ``refused``: the tasks that a file would have answered, and why it does not."""

    files: list[Path] = field(default_factory=list)
    parts: dict[Path, Parts] = field(default_factory=dict)
    refused: dict[Path, tuple[Sequence[Task], str]] = field(default_factory=dict)


class ClassFileSorter:
    """Sorts found files; ``names``: label -> value, with those that the dataset had before its classes were changed.
    ``grid_of``: called with a case, the lattice that its label maps have; None where that is not known."""

    def __init__(
        self, matching: Matching, names: Mapping[str, int], only: Task | None, grid_of: Callable[[str], Grid | None]
    ) -> None:
        self._matching, self.names, self.only, self._grid_of = matching, names, only, grid_of
        self._masks: dict[Path, dict[str, dict[str, Path]]] = {}

    def sort(self, files: Collection[Path], named: bool, unchanged: bool) -> Sorted:
        """Sort ``files``. ``named``: somebody named each of them, else they were found in folders. ``unchanged``: label maps
        that nobody edited count, so that a mask that is passed over would be answered by its untouched export."""
        made = Sorted()
        groups: dict[_Group, list[tuple[str, Path]]] = defaultdict(list)
        by_folder: dict[_Group, list[tuple[str, Path]]] = defaultdict(list)
        strays: list[tuple[_Group, Path, str]] = []
        places = {file: place for file in files if (place := self._place(file)) is not None}
        made.files += [file for file in files if file not in places]
        for file, place in places.items():
            said = class_in(place.rest, self.names)
            group = place.owner, None if named else file.parent
            if said.name:
                groups[group].append((said.name, file))
            elif text := self._objection(file, place, said):
                strays.append((group, file, text))
            elif folder := class_in(file.parent.name, self.names).name:
                by_folder[place.owner, None if named else file.parent.parent].append((folder, file))
            else:
                made.files.append(file)
        for group, members in by_folder.items():
            if len({name for name, _ in members}) > 1:  # CLASS/TASK; a single one may be the name of a project
                groups[group] += members
            else:
                made.files += [file for _, file in members]
        for members in groups.values():
            self._put(made, places[members[0][1]], members, named)
        for group, file, text in strays:
            place = places[file]
            if place.nested and group not in groups and (place.by_case or not unchanged):
                made.files.append(file)  # nothing says that it is a mask
            else:
                made.refused[file] = (place.tasks, text)
                self._withdraw(made, groups.get(group, []))
        return made

    def _objection(self, file: Path, place: _Place, said: ClassName) -> str:
        """Why a file whose name is that of no class is neither a mask nor a label map of all classes; "" if it is one."""
        if said.unsure:
            return "" if self._carries_names(file, place) else _unsure(place)
        if place.nested:
            return self._unknown(place)
        beside = said.other and self._masks_in(file.parent, place.owner)
        return self._unknown(place) if beside and not self._carries_names(file, place) else ""

    def _carries_names(self, file: Path, place: _Place) -> bool:
        return carries_names(file, self.names, self._grid_of(place.tasks[0].patch.case))

    def _put(self, made: Sorted, place: _Place, members: Sequence[tuple[str, Path]], named: bool) -> None:
        """Put the masks of one answer into what is ``made``."""
        if named and (text := self._missing(place, members)):
            made.refused[members[0][1]] = (place.tasks, text)
        else:
            order = list(self.names)
            parts = ClassFiles(tuple(sorted(members, key=lambda member: (order.index(member[0]), member[1]))))
            made.files.append(parts.first)
            made.parts[parts.first] = Parts(parts, place.tasks, place.by_case)

    def _withdraw(self, made: Sorted, members: Sequence[tuple[str, Path]]) -> None:
        """The other classes are not taken without the one that is unknown."""
        for _, file in members:
            made.parts.pop(file, None)
            if file in made.files:
                made.files.remove(file)

    def _place(self, file: Path) -> _Place | None:
        stem = stem_of(file)
        if self.only:
            start = next((s for s in (self.only.id, self.only.patch.case) if stem.startswith(s)), "")
            return _Place(self.only.id, [self.only], False, stem[len(start) :], False)
        tasks, by_case = self._matching.match(file)
        if tasks:
            owner = tasks[0].patch.case if by_case else tasks[0].id
            return _Place(owner, tasks, by_case, stem[len(owner) :], False)
        above = [file.parent, *([file.parent.parent] if _BETWEEN.fullmatch(file.parent.name) else [])]
        for folder in above:
            tasks, by_case = self._matching.match(folder)
            if tasks:
                owner = tasks[0].patch.case if by_case else tasks[0].id
                return _Place(owner, tasks, by_case, stem, True)
        return None

    def _masks_in(self, folder: Path, owner: str) -> dict[str, Path]:
        """The masks of a task or a case directly in a folder, by class."""
        if folder not in self._masks:  # which is looked through once, whatever the number of its files
            masks: dict[str, dict[str, Path]] = {}
            for file in named_candidates(folder):
                place = self._place(file)
                if place and (name := class_in(place.rest, self.names).name):
                    masks.setdefault(place.owner, {}).setdefault(name, file)
            self._masks[folder] = masks
        return self._masks[folder].get(owner, {})

    def _missing(self, place: _Place, members: Sequence[tuple[str, Path]]) -> str:
        """Why files that somebody named are not all: masks of other classes of the same task lie beside them."""
        have = {name for name, _ in members}
        folders = {file.parent for _, file in members}
        beside = [f.name for folder in folders for name, f in self._masks_in(folder, place.owner).items() if name not in have]
        if not beside:
            return ""
        lie = f"{enumerated(beside)} {plural(len(beside), 'lies', 'lie')}"
        return f"it is the mask of one class, and {lie} beside it. Import all of them in one command, or their folder"

    def _unknown(self, place: _Place) -> str:
        known = listed([repr(name) for name in self.names], 20)
        return (
            f"{place.rest.strip(' _-.')!r} is no class of the dataset, and files beside it are masks of one class. The dataset "
            f"knows {known}. Rename the file after its class, or move it elsewhere"
        )


def _unsure(place: _Place) -> str:
    return (
        f"its name holds a class among other words ({place.rest.strip(' _-.')!r}), so it may be the mask of one class or a "
        f"label map of all. Name a mask {place.owner}_CLASS, and a label map of all classes {place.owner}"
    )
