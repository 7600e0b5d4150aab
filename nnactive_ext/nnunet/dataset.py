"""nnU-Net dataset folders: where they are, their cases, labels and reader."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from nnactive_ext.errors import OF_THE_MACHINE, NnActiveError, brief
from nnactive_ext.files import Unpacked, read_json
from nnactive_ext.nnunet.environment import FOLDERS, require_nnunet_folders
from nnactive_ext.nnunet.regions import order_problem
from nnactive_ext.paths import Name, check_name, name_problem
from nnactive_ext.schemas import Count, JsonObject
from nnactive_ext.words import listed, plural

if TYPE_CHECKING:
    import numpy as np


def _is_ending(text: str) -> None:
    if name_problem(text) or not text.startswith("."):
        raise ValueError(f'{text[:80]!r} is no ending such as ".nii.gz"')


class _Entry(TypedDict):
    images: list[str]
    label: str


class Description(TypedDict, total=False):
    """What we look at of a dataset.json; :attr:`Dataset.labels` looks at the labels."""

    labels: JsonObject
    channel_names: dict[str, str]
    file_ending: Annotated[str, _is_ending]
    dataset: dict[Name, _Entry]
    regions_class_order: list[Count] | None
    overwrite_image_reader_writer: str | None


def read_description(file: Path, remedy: str = "Correct or restore it.") -> dict[str, Any]:
    """The content of a dataset.json; a missing or damaged one is an NnActiveError with ``remedy``."""
    return read_json(file, Description, remedy)


@dataclass(frozen=True)
class Case:
    """One image: its name, its channels' files and its label file."""

    name: str
    images: tuple[Path, ...]
    label: Path

    def read_from(self, copies: Unpacked) -> Case:
        """The same case with the copies of its images, where there are some."""
        return replace(self, images=tuple(map(copies.of, self.images)))


@dataclass(frozen=True)
class Labels:
    """The ``labels`` of a dataset.json: names to values, or to lists of values in region-based training."""

    names: Mapping[str, Any]
    regions_class_order: tuple[int, ...] | None = None

    @cached_property
    def values(self) -> tuple[int, ...]:
        """All label values including background, without ignore."""
        found = {0}
        for name, value in self.names.items():
            if name != "ignore":
                found.update(int(v) for v in (value if isinstance(value, (list, tuple)) else [value]))
        return tuple(sorted(found))

    @cached_property
    def ignore(self) -> int:
        """The value of voxels nobody has annotated; the highest label + 1, as nnU-Net wants it."""
        return int(self.names.get("ignore", max(self.values) + 1))

    @property
    def regions(self) -> bool:
        return any(isinstance(v, (list, tuple)) and len(v) > 1 for n, v in self.names.items() if n != "ignore")

    @property
    def order(self) -> tuple[int, ...] | None:
        """The label each region is painted with, in the network's order; None without regions."""
        return self.regions_class_order if self.regions else None

    @property
    def foreground(self) -> dict[int, str]:
        """Foreground label value -> name; a value that only occurs inside regions is called by its number."""
        single = {int(v): n for n, v in self.names.items() if n != "ignore" and not isinstance(v, (list, tuple))}
        return {value: single.get(value, str(value)) for value in self.values if value != 0}

    @property
    def classes(self) -> dict[str, tuple[int, ...]]:
        """What is evaluated and stratified by: class or region name -> its label values, in the network's order."""
        found = {}
        for name, value in self.names.items():
            values = tuple(int(v) for v in value) if isinstance(value, (list, tuple)) else (int(value),)
            if name != "ignore" and set(values) != {0}:
                found[name] = values
        return found if self.regions else dict(sorted(found.items(), key=lambda item: item[1]))

    @property
    def channels(self) -> dict[int, str]:
        """Index of each class in the network's output -> its name."""
        names = list(self.classes)
        return dict(enumerate(names)) if self.regions else {self.classes[name][0]: name for name in names}


@dataclass(frozen=True)
class Dataset:
    """A raw nnU-Net dataset: ``folder`` with its dataset.json.

    ``known``: the only cases that count, whatever else dataset.json lists; None for all. ``tests``: the cases of imagesTs and
    labelsTs that count, too. ``content``: what its dataset.json is going to be; None for what it is.
    """

    folder: Path
    known: frozenset[str] | None = None
    tests: frozenset[str] = frozenset()
    content: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def json(self) -> dict:
        file = self.folder / "dataset.json"
        if self.content is None and not file.is_file():
            raise NnActiveError(f"{file}: no such file. An nnU-Net dataset needs one.")
        content = read_description(file) if self.content is None else dict(self.content)
        missing = [key for key in ("labels", "channel_names", "file_ending") if key not in content]
        if missing:
            raise NnActiveError(
                f"{file}: the {plural(len(missing), 'key')} {', '.join(missing)} "
                f"{plural(len(missing), 'is', 'are')} missing. Add what nnU-Net's dataset format asks for."
            )
        return content

    @cached_property
    def labels(self) -> Labels:
        names, file = self.json["labels"], self.folder / "dataset.json"
        if not isinstance(names, dict) or names.get("background") != 0:
            raise NnActiveError(f"{file}: labels must contain background with the value 0.")
        order = self.json.get("regions_class_order")
        for name, value in names.items():
            values = value if isinstance(value, list) else [value]
            if not values or not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
                raise NnActiveError(f"{file}: the label {name} must be a whole number, or a list of them; found {value!r}.")
        if isinstance(names.get("ignore"), list):
            raise NnActiveError(f"{file}: ignore must be one whole number, not a region.")
        labels = Labels(names, tuple(order) if isinstance(order, list) else None)
        if labels.values != tuple(range(len(labels.values))):
            raise NnActiveError(f"{file}: label values must be consecutive from 0; found {list(labels.values)}.")
        if len(labels.values) < 2:
            raise NnActiveError(f"{file}: no foreground label. There is nothing to segment.")
        if labels.ignore != max(labels.values) + 1:
            raise NnActiveError(f"{file}: ignore must be the highest label + 1; found {labels.ignore}.")
        if labels.regions and (problem := order_problem(names, labels.regions_class_order or ())):
            raise NnActiveError(f"{file}: {problem}. An experiment that was planned with it must be planned again.")
        return labels

    @property
    def file_ending(self) -> str:
        return self.json["file_ending"]

    @cached_property
    def reader_writer(self) -> Any:
        """An instance of nnU-Net's reader/writer for this dataset; arrays are (channel, z, y, x).

        It is chosen as nnU-Net chooses it: the first of those for the file ending that reads the first image.
        """
        from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

        example = self._example()
        said = io.StringIO()
        try:
            # What a reader raises that is tried in vain is printed, also where the next one reads the image.
            with redirect_stderr(said), redirect_stdout(said):
                return determine_reader_writer_from_dataset_json(self.json, example, verbose=False)()
        except RuntimeError as error:
            ending, file = self.file_ending, self.folder / "dataset.json"
            if example is None:
                raise NnActiveError(f"{file}: {error}") from None
            why = [line for line in said.getvalue().splitlines() if line and not line[0].isspace()]
            raise NnActiveError(
                f"{example}: none of nnU-Net's readers of {ending} files reads it{f' ({why[-1]})' if why else ''}. Restore the "
                f"file if it is damaged. If another reader of nnU-Net reads it, name the reader in {file}, for example "
                '"overwrite_image_reader_writer": "Tiff3DIO".'
            ) from None

    def _example(self) -> str | None:
        """The image that nnU-Net tries readers on, where several readers take the file ending; None where one does."""
        from nnunetv2.imageio.reader_writer_registry import LIST_OF_IO_CLASSES

        readers = [r for r in LIST_OF_IO_CLASSES if self.file_ending.lower() in r.supported_file_endings]
        named = self.json.get("overwrite_image_reader_writer", "None") != "None"
        if named or len(readers) < 2 or all(".nii.gz" in r.supported_file_endings for r in readers):
            return None
        first = next((case.images[0] for case in self.entries.values() if case.images), None)
        return str(first) if first is not None and first.is_file() else None

    def image(self, name: str) -> tuple[np.ndarray, dict[str, Any]]:
        """The voxels (channel, z, y, x) of a case as nnU-Net's reader gives them, and what it says of them."""
        return read_images(self.reader_writer, self.entries[name].images)

    def label_map(self, name: str) -> np.ndarray:
        """The labels (z, y, x) of a case as its file has them."""
        return read_labels(self.reader_writer, self.cases[name].label)[0][0]

    @cached_property
    def entries(self) -> dict[str, Case]:
        """All cases by name, sorted, whether or not their files exist; a test case has the name of no other case."""
        if "dataset" in self.json:
            found = {
                name: Case(name, tuple(self._path(p) for p in entry["images"]), self._path(entry["label"]))
                for name, entry in self.json["dataset"].items()
            }
        else:
            found = self._listed("imagesTr", "labelsTr")
        found = {name: case for name, case in found.items() if self.known is None or name in self.known}
        twice = sorted(self.tests & found.keys())
        if twice:
            raise NnActiveError(
                f"{self.folder}: the cases {listed(twice)} of imagesTs have the names of other cases. Rename these cases."
            )
        found |= {name: case for name, case in self.test_entries.items() if name in self.tests}
        return dict(sorted(found.items()))

    @cached_property
    def test_entries(self) -> dict[str, Case]:
        """All cases of imagesTs by name, sorted, whether or not their labels, in labelsTs, and all their channels exist."""
        return self._listed("imagesTs", "labelsTs")

    @cached_property
    def cases(self) -> dict[str, Case]:
        """All cases by name, sorted; every file they need exists."""
        found = self.entries
        channels = len(self.json["channel_names"])
        problems = [
            f"{self.folder / 'dataset.json'}: {case.name} has {len(case.images)} images for {channels} channels."
            for case in found.values()
            if len(case.images) != channels
        ]
        problems += [
            f"{file}: no such file (case {case.name})."
            for case in found.values()
            for file in (*case.images, case.label)
            if not file.is_file()
        ]
        if not found:
            problems = [f"{self.folder / 'imagesTr'}: no image called CASE_0000{self.file_ending}."]
        if problems:
            raise NnActiveError("\n".join(problems))
        return found

    def check_labels(self) -> None:
        """A label map that does not lie in labelsTr, where we write it, is an NnActiveError."""
        for case in self.entries.values():
            own = self.folder / "labelsTr" / f"{case.name}{self.file_ending}"
            if case.label != Path(os.path.normpath(own)):
                raise NnActiveError(
                    f"{self.folder / 'dataset.json'}: the label map of {case.name} is {case.label}, outside the experiment. It "
                    f"must be {own}. Correct the file."
                )

    def _path(self, text: str) -> Path:
        path = Path(os.path.expandvars(text))
        return path if path.is_absolute() else Path(os.path.normpath(self.folder / path))

    def _listed(self, images_folder: str, labels_folder: str) -> dict[str, Case]:
        images = self.folder / images_folder
        pattern = re.compile(r"(.+)_\d{4}" + re.escape(self.file_ending))
        files = sorted(os.listdir(images)) if images.is_dir() else []
        # Archives made on a Mac hold a "._a_0000.nii.gz" for each image.
        names = sorted({match[1] for match in map(pattern.fullmatch, files) if match and not match[0].startswith("._")})
        channels = range(len(self.json["channel_names"]))
        return {
            name: Case(
                name,
                tuple(images / f"{name}_{channel:04d}{self.file_ending}" for channel in channels),
                self.folder / labels_folder / f"{name}{self.file_ending}",
            )
            for name in names
        }


def read_images(reader: Any, files: Sequence[Path]) -> tuple[np.ndarray, dict[str, Any]]:
    """The voxels (channel, z, y, x) of the files of a case as nnU-Net's ``reader`` gives them, and what it says of them.

    Raises:
        NnActiveError: a file cannot be read.
    """
    names = [str(file) for file in files]
    try:
        return reader.read_images(names)
    except OF_THE_MACHINE:
        raise
    except Exception as error:  # nnU-Net's readers raise whatever their libraries raise
        raise NnActiveError(f"{', '.join(names)}: cannot be read ({brief(error)}). Restore it, or drop the case.") from None


def read_labels(reader: Any, file: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The labels (1, z, y, x) of a file as nnU-Net's ``reader`` gives them, and what it says of them.

    Raises:
        NnActiveError: the file cannot be read.
    """
    try:
        return reader.read_seg(str(file))
    except OF_THE_MACHINE:
        raise
    except Exception as error:  # nnU-Net's readers raise whatever their libraries raise
        raise NnActiveError(f"{file}: cannot be read ({brief(error)}). Restore it from a backup.") from None


def nnunet_folder(variable: str) -> Path:
    """The folder that nnUNet_raw, nnUNet_preprocessed or nnUNet_results names."""
    require_nnunet_folders()
    return Path(os.environ[variable])


def dataset_folder_name(identifier: str | int) -> str:
    """``4`` or ``Dataset004_X`` -> the folder name found in nnU-Net's folders; unknown or ambiguous is an error."""
    text = str(identifier)
    if text.startswith("Dataset"):
        return check_name(text, "the dataset", "-d")
    if not text.isdecimal():
        raise NnActiveError(f"{text!r} is neither a dataset number nor a name like Dataset004_Name.")
    found = existing_names(int(text))
    if not found:
        raise NnActiveError(f"There is no dataset with the number {text} in {nnunet_folder('nnUNet_raw')}.")
    if len(found) > 1:
        raise NnActiveError(f"The number {text} has several names: {', '.join(found)}. Keep one of them.")
    return found[0]


def check_dataset_name(number: int, name: str) -> None:
    """A number or name that nnU-Net's ``DatasetXXX_Name`` cannot hold is an error; numbers have three digits or more."""
    if number < 1:
        raise NnActiveError(f"Dataset number {number}: choose a number of 1 or more, such as 504.")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or "__" in name:
        raise NnActiveError(f"Dataset name {name!r}: use letters, digits, '-' and single '_'.")


def dataset_name(number: int, name: str) -> str:
    """The name of a dataset's folder.

    >>> dataset_name(4, "Liver"), dataset_name(1234, "Liver")
    ('Dataset004_Liver', 'Dataset1234_Liver')
    """
    return f"Dataset{number:03d}_{name}"


def number_and_name(folder_name: str) -> tuple[int, str]:
    """The parts of :func:`dataset_name`; a name of another form is an error.

    >>> number_and_name("Dataset1234_Liver_CT")
    (1234, 'Liver_CT')
    """
    parts = re.fullmatch(r"Dataset(\d{3,})_(.+)", folder_name)
    if parts is None:
        raise NnActiveError(f"{folder_name!r} is not the name of an nnU-Net dataset, such as Dataset004_Name.")
    return int(parts[1]), parts[2]


def existing_names(number: int) -> list[str]:
    """All names that a dataset number has in nnU-Net's raw, preprocessed and results folders."""
    return _beginning_with(f"Dataset{number:03d}_")


def mistaken_names(number: int) -> list[str]:
    """Datasets of other numbers that nnU-Net finds, too, when it is given this one, or finds this one for.

    nnU-Net takes any folder whose name begins with ``Dataset`` and the number: 100 also finds ``Dataset1001_Name``.
    """
    own = f"Dataset{number:03d}"
    shorter = [name for n in range(len("Dataset000"), len(own)) for name in _beginning_with(f"{own[:n]}_")]
    return sorted({*shorter, *(name for name in _beginning_with(own) if name[len(own)].isdecimal())})


def nnunet_identifier(folder_name: str) -> str:
    """What finds this dataset with nnU-Net's own commands: its number, or its name where the number finds others, too."""
    number, _ = number_and_name(folder_name)
    others = [name for name in _beginning_with(f"Dataset{number:03d}") if name != folder_name]
    return folder_name if others else str(number)


def _beginning_with(text: str) -> list[str]:
    found: set[str] = set()
    for variable in FOLDERS:
        folder = nnunet_folder(variable)
        if folder.is_dir():
            found.update(p.name for p in folder.glob(f"{text}*") if "_" in p.name)
    return sorted(found)


def find_dataset(identifier: str | int) -> Dataset:
    """Find a dataset.

    Args:
        identifier: its number, its name in ``nnUNet_raw``, or the path of its folder.

    Returns:
        The dataset.

    Raises:
        NnActiveError: there is no such folder, or ``nnUNet_raw`` is not set.
    """
    path = Path(str(identifier))
    if path.is_dir() and path.name.startswith("Dataset"):
        return Dataset(Path(os.path.abspath(path)))
    folder = nnunet_folder("nnUNet_raw") / dataset_folder_name(identifier)
    if not folder.is_dir():
        raise NnActiveError(f"{folder}: no such folder. Which dataset is meant by -d {identifier}?")
    return Dataset(folder)
